"""Traversals that move: one code goes there and back, as a GIF or an animated PNG (APNG)."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .codes import is_angle
from .errors import DataError, checked_count
from .images import sheet
from .infogan import InfoGAN
from .runs import replace
from .traversal import traversed, values_of

if TYPE_CHECKING:
    from .evaluation import Clustering

__all__ = ["Animation", "animate"]

_FORMATS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}
_MOVING = 80
"""Milliseconds of a frame of a number. GIF counts in hundredths of a second."""
_CATEGORY = 600
"""Milliseconds of a category."""
_LEAST_SIDE = 48
"""Pixels of an image; smaller ones are enlarged by a whole factor."""


@dataclass(frozen=True, eq=False)
class Animation:
    """Pictures that follow each other and begin again.

    Attributes:
        frames: bytes (height, width[, 3]).
        milliseconds: how long each is shown.
    """

    frames: list[np.ndarray]
    milliseconds: int

    def encoded(self, suffix: str) -> bytes:
        """As the contents of a file that ends in ``.gif``, or ``.png`` or ``.apng``.

        A GIF has 256 colours a frame; grey images lose nothing.

        Raises:
            DataError: for another suffix.
        """
        if suffix.lower() not in _FORMATS:
            raise DataError(
                "an animation",
                got=f"a file ending in {suffix!r}",
                expected=f"one of {', '.join(_FORMATS)}",
                fix="Rename it.",
            )
        first, *rest = map(Image.fromarray, self.frames)
        file = io.BytesIO()
        first.save(
            file,
            format=_FORMATS[suffix.lower()],
            save_all=True,
            append_images=rest,
            duration=self.milliseconds,
            loop=0,
        )
        return file.getvalue()

    def write(self, path: str | Path) -> None:
        """Write a GIF or APNG, as the suffix says, whole or not at all.

        Raises:
            DataError: for a suffix of neither.
            RunError: where the folder cannot be written to.
        """
        path = Path(path)
        contents = self.encoded(path.suffix)
        replace(path, lambda file: file.write(contents))


def animate(
    gan: InfoGAN,
    name: str,
    *,
    element: int = 0,
    span: tuple[float, float] | None = None,
    rows: int = 3,
    columns: int = 10,
    frames: int = 40,
    seed: int = 0,
    clusters: "Mapping[str, Clustering] | None" = None,
) -> Animation:
    """A traversal in time: all images move with one code, each keeps its noise and other codes.

    A number goes from one end to the other and back, slowly at the ends, so that it loops without a
    jump; an angle turns once around; categories follow each other. The images step through the
    categories of the other codes, row by row.

    Args:
        gan: a trained InfoGAN.
        name: the code.
        element: which number of a vector code.
        span: the ends of a continuous code; by default those of
            :meth:`~pyro_infogan.codes.CodePrior.shown`, and 0 to 1 of a share, to which the other
            shares give way in proportion.
        rows: of images, each with noise of its own.
        columns: of images.
        frames: of a number, there and back; categories have one each, counts without end at most
            as many as these.
        seed: of noise and other codes; the caller's random state is left as it was.
        clusters: categories matched to labels, from ``evaluate``, to order categories by; counts
            and booleans keep their own order.

    Raises:
        DeclarationError: for a code that is not declared.
        DataError: as ``figures.traverse``, and for fewer than two frames.

    Example:
        >>> import pyro.distributions as dist
        >>> gan = InfoGAN({"slant": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 8, 8))
        >>> moving = animate(gan, "slant", rows=1, columns=2, frames=6)
        >>> len(moving.frames), moving.frames[0].shape
        (6, (60, 120))
    """
    for what, count, least in (("rows", rows, 1), ("columns", columns, 1), ("frames", frames, 2)):
        checked_count(what, count, least=least)
    fixed: Any = {"element": element, "clusters": clusters}
    values, _ = values_of(gan, name, span=span, count=frames, **fixed)
    order = list(range(len(values)))
    discrete = gan.prior.is_discrete(name)
    if not discrete:
        around = span is None and is_angle(gan.prior.sites[name])
        ends = values[[0, -1]]
        values, order = _around(ends, frames) if around else _there_and_back(ends, frames)
    images = traversed(gan, name, values, rows=rows * columns, seed=seed, **fixed)
    each = images.unflatten(0, (rows * columns, len(values))).unbind(1)
    pictures = [_enlarged(part, columns) for part in each]
    return Animation([pictures[place] for place in order], _CATEGORY if discrete else _MOVING)


def _around(ends: Tensor, frames: int) -> tuple[Tensor, list[int]]:
    """Evenly once around; the last value is not the first again."""
    low, high = ends.tolist()
    return torch.linspace(low, high, frames + 1, device=ends.device)[:-1], list(range(frames))


def _there_and_back(ends: Tensor, frames: int) -> tuple[Tensor, list[int]]:
    """A cosine from the low end over the high one; and which of its values each frame shows.

    What is passed twice is generated once.
    """
    low, high = ends.tolist()
    steps = torch.arange(frames // 2 + 1, device=ends.device)
    risen = (1 - torch.cos(math.pi * steps / steps[-1])) / 2
    return low + (high - low) * risen, [min(place, frames - place) for place in range(frames)]


def _enlarged(images: Tensor, columns: int) -> np.ndarray:
    """A sheet of images as bytes, none of them too small to be seen."""
    factor = math.ceil(_LEAST_SIDE / min(images.shape[2:]))
    picture = (sheet(images, columns) * 255).round().astype(np.uint8)
    return picture.repeat(factor, 0).repeat(factor, 1)
