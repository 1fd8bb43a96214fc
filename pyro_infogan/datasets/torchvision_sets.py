"""SVHN and CelebA, by torchvision, which takes seconds to import and is where it is needed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from ..errors import DataError, checked_count
from .cache import place_for
from .images import Factor, ImageSet
from .reading import OnBroken, opened, pixels, read_all, refuse

__all__ = ["celeba", "svhn"]

T = TypeVar("T")

_CELEBA = (178, 218)
_CROP = 108
"""Side of the square in the middle that DCGAN cuts from each image, and the paper with it."""


def svhn(root: str | Path, train: bool = True, download: bool = False) -> ImageSet:
    """Street View House Numbers, cropped digits: 3×32×32, labels 0 to 9; in memory.

    Args:
        root: folder of ``train_32x32.mat`` and ``test_32x32.mat``.
        train: the 73,257 training images, or the 26,032 test images.
        download: whether to fetch the file where it is not there yet: 182 MB, or 64 MB.

    Raises:
        DataError: where the file is not there or not the published one, or cannot be fetched.
    """
    from torchvision.datasets import SVHN

    root, split = Path(root), "train" if train else "test"
    file = SVHN.split_list[split][1]
    got = _obtained(lambda: SVHN(root, split, download=download), root, [file], download)
    images = torch.from_numpy(np.ascontiguousarray(got.data))
    return ImageSet(images, torch.from_numpy(np.asarray(got.labels)))


def celeba(
    root: str | Path,
    train: bool = True,
    size: int = 32,
    download: bool = False,
    *,
    on_broken: OnBroken = refuse,
    cache: str | Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """CelebFaces Attributes, aligned: 3×size×size, with 40 attributes as factors of kinds 0 and 1.

    Of each image of 178×218 it is the 108×108 in the middle, as in DCGAN, resized with
    antialiasing. ``names`` are the file names. The images are read once, which takes minutes, and
    kept beside ``root/celeba``; later they are mapped from there.

    Args:
        root: folder of ``celeba``, which holds ``img_align_celeba`` and the published lists.
        train: the 162,770 training images, or the 19,962 test images.
        size: height and width of the images.
        download: whether to fetch what is not there yet, 1.4 GB; needs the package gdown.
        on_broken: what to do about images that cannot be read, as of :func:`folder`.
        cache: another folder to keep the images in.
        progress: whether to show a bar while reading.

    Raises:
        DataError: where files are not there, broken or not the published ones, or cannot be
            fetched, or where the cache cannot be written.
    """
    from torchvision.datasets import CelebA

    checked_count("size", size, least=1)
    root, split = Path(root), "train" if train else "test"
    base = root / CelebA.base_folder
    files = [name for *_, name in CelebA.file_list if name.endswith(".txt")]
    got = _obtained(
        lambda: CelebA(root, split, download=download),
        base,
        [*files, "img_align_celeba"],
        download,
    )
    images, kept = read_all(
        base / "img_align_celeba",
        got.filename,
        partial(_face, size=size),
        (3, size, size),
        place_for(base, f"{split}-{size}", cache),
        {"set": "celeba"},
        on_broken=on_broken,
        progress=progress,
    )
    # torchvision's last name is what follows the last space of the line.
    names = [name for name in got.attr_names if name]
    known = got.attr[kept]
    factors = {name: Factor(known[:, column]) for column, name in enumerate(names)}
    return ImageSet(images, factors=factors, names=[got.filename[index] for index in kept])


def _face(path: Path, size: int) -> np.ndarray:
    """Bytes (3, size, size) of an aligned image of CelebA."""
    image = opened(path, channels=3)
    if image.size != _CELEBA:
        raise DataError(
            f"image {path}",
            got=f"{image.width}×{image.height}",
            expected="178×218, as CelebA's aligned images are",
            fix="Put CelebA's img_align_celeba there.",
        )
    left, top = (image.width - _CROP) // 2, (image.height - _CROP) // 2
    face = image.crop((left, top, left + _CROP, top + _CROP))
    return pixels(face.resize((size, size), Image.Resampling.BILINEAR))


def _obtained(make: Callable[[], T], folder: Path, files: Sequence[str], download: bool) -> T:
    """A set of torchvision, or an error that says which files it needs, and where."""
    try:
        return make()
    except Exception as error:  # torchvision, gdown and the network raise a dozen types
        missing = [name for name in files if not (folder / name).exists()]
        there = f"no {', '.join(missing)}" if missing else "files that are not the published ones"
        if download:
            fix = f"Fetching failed: {error}. Put them there by hand."
        else:
            fix = "Put them there, or fetch them in Python, with download=True."
        raise DataError(
            f"folder {folder}", got=there, expected=", ".join(files), fix=fix
        ) from error
