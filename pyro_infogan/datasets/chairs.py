"""Rendered chairs."""

import math
import re
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ..errors import DataError, checked_count
from .cache import place_for
from .folder import checked_folder, picture, pictures, shuffled
from .images import Factor, ImageSet
from .reading import OnBroken, read_all, refuse

__all__ = ["chairs"]

_PATH = re.compile(r"([^/]+)/renders/image_\d+_p(\d+)_t(\d+)_r\d+\.\w+")


class _View(NamedTuple):
    model: str
    elevation: float
    azimuth: float


def chairs(
    root: str | Path,
    train: bool = True,
    size: int = 64,
    *,
    on_broken: OnBroken = refuse,
    cache: str | Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """Chairs from 62 sides each (Aubry et al., 2014): 1×size×size, dark on white.

    Factors: ``azimuth``, in radians, which turns round a circle; ``elevation``, in radians;
    ``model``, a kind for each chair, numbered by the order of all their names. The last tenth of
    the chairs, in a fixed pseudo-random order, is in the test set, so that it holds none that was
    trained on. Within each part the images are in such an order too, and ``names`` are their paths.

    The images are read once and kept beside the folder; later they are mapped from there.

    Args:
        root: folder of ``rendered_chairs``, or that folder itself, as unpacked from the published
            archive: ``<chair>/renders/image_000_p020_t011_r096.png``, where p is the elevation in
            degrees, and t the azimuth.
        train: nine tenths of the chairs, or the last tenth.
        size: height and width of the images.
        on_broken: what to do about files that cannot be read, as of :func:`folder`.
        cache: another folder to keep the images in.
        progress: whether to show a bar while reading.

    Raises:
        DataError: where the folder holds something else, files are broken, or the cache cannot be
            written.
    """
    checked_count("size", size, least=1)
    root = checked_folder(root)
    if (root / "rendered_chairs").is_dir():
        root = root / "rendered_chairs"
    views = {name: _view(root, name) for name in pictures(root)}
    models = sorted({view.model for view in views.values()})
    if len(models) < 2:
        raise DataError(
            f"folder {root}",
            got=f"{len(models)} chairs",
            expected="two or more: <chair>/renders/image_000_p020_t011_r096.png",
            fix="Unpack the published archive there.",
        )
    tested = set(sorted(models, key=shuffled)[len(models) * 9 // 10 :])
    names = sorted(views, key=lambda name: (views[name].model in tested, *shuffled(name)))
    images, kept = read_all(
        root,
        names,
        partial(picture, channels=1, size=size),
        (1, size, size),
        place_for(root, str(size), cache),
        {"set": "chairs"},
        on_broken=on_broken,
        progress=progress,
    )
    names = [names[index] for index in kept]
    number = {model: index for index, model in enumerate(models)}
    shown = [views[name] for name in names]
    factors = {
        "azimuth": Factor(torch.tensor([view.azimuth for view in shown]), period=2 * math.pi),
        "elevation": Factor(torch.tensor([view.elevation for view in shown])),
        "model": Factor(torch.tensor([number[view.model] for view in shown])),
    }
    cut = sum(view.model not in tested for view in shown)
    every = ImageSet(images, factors=factors, names=names)
    return every.subset(slice(cut) if train else slice(cut, None))


def _view(root: Path, name: str) -> _View:
    """What the path of a file says."""
    match = _PATH.fullmatch(name)
    if not match:
        raise DataError(
            f"folder {root}",
            got=name,
            expected="<chair>/renders/image_000_p020_t011_r096.png",
            fix="Leave only the unpacked archive there.",
        )
    return _View(match[1], math.radians(int(match[2])), math.radians(int(match[3])))
