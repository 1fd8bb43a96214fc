"""Random distortions, through which a code may be asked to stay readable."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DeclarationError, in_short
from ..randomness import seeded

__all__ = ["Affine", "Chain", "Inks", "Strokes", "Tints"]


def check_distortion(distort: Callable[[Tensor], Tensor], image_shape: tuple[int, ...]) -> None:
    """Refuse a distortion that gives no images like those it was given, or changes these.

    Raises:
        DeclarationError: for one that does.
    """
    with torch.no_grad(), seeded(0):
        images = torch.rand(2, *image_shape)
        given = images.clone()
        try:
            found = distort(given)
        except Exception as error:  # it is the user's own
            got = in_short(error)
        else:
            if not isinstance(found, Tensor):
                got = f"{type(found).__name__} of two images"
            elif found.shape != images.shape or not found.is_floating_point():
                got = f"shape {tuple(found.shape)} and {found.dtype} of {tuple(images.shape)}"
            elif not torch.equal(given, images):
                got = "one that changes the images that it is given"
            else:
                return
    raise DeclarationError(
        "Invariance.distort",
        got=got,
        expected="a function of images (n, C, H, W), on any device, that gives as many other ones",
        fix="Write it with torch's functions, none of them in place.",
    )


def _check_range(what: str, value: float, least: float, most: float = math.inf) -> None:
    """Refuse a setting that is not in a range.

    Raises:
        DeclarationError: for one.
    """
    if not (least <= value <= most and math.isfinite(value)):
        limits = f"{least} or more" if most == math.inf else f"from {least} to {most}"
        raise DeclarationError(
            what, got=value, expected=f"a finite number, {limits}", fix="Give one that is."
        )


def _factors(images: Tensor, channels: int, most: float) -> Tensor:
    """Factors (n, channels, 1, 1) for images, drawn evenly in their logarithm."""
    draws = torch.rand(len(images), channels, 1, 1, device=images.device, dtype=images.dtype)
    return most ** (2 * draws - 1)


@dataclass(frozen=True)
class Affine:
    """A random affine map for each image, drawn evenly from these ranges.

    Attributes:
        rotation: greatest turn, in degrees, either way.
        shear: greatest horizontal shear, as a ratio, either way.
        scale: greatest change of width, and of height, as a share.
        shift: greatest shift along each axis, as a share of the image.
        fill: brightness where nothing is mapped: 0 is black, 1 white.

    Example:
        >>> Affine(rotation=0, shear=0, scale=0, shift=0)(torch.ones(2, 1, 8, 8)).sum().item()
        128.0
    """

    rotation: float = 15.0
    shear: float = 0.2
    scale: float = 0.15
    shift: float = 0.1
    fill: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rotation", "shear", "scale", "shift"):
            _check_range(f"Affine.{name}", getattr(self, name), 0)
        _check_range("Affine.fill", self.fill, 0, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W)."""
        n = len(images)
        turn, shear, wide, high, across, down = (
            torch.rand(6, n, device=images.device, dtype=images.dtype) * 2 - 1
        )
        turn = turn * math.radians(self.rotation)
        wide, high = 1 + self.scale * wide, 1 + self.scale * high
        # A grid goes from −1 to 1 along either side, however long they are.
        tall = images.shape[-2] / images.shape[-1]
        slanted = self.shear * shear - turn.sin() * high
        rows = [
            [turn.cos() * wide, slanted * tall, 2 * self.shift * across],
            [turn.sin() * wide / tall, turn.cos() * high, 2 * self.shift * down],
        ]
        maps = torch.stack([torch.stack(row, -1) for row in rows], 1)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        # What lies outside is 0 for grid_sample.
        return F.grid_sample(images - self.fill, grid, align_corners=False) + self.fill


@dataclass(frozen=True)
class Strokes:
    """Bolder or finer strokes: each image blended with its local maxima or minima.

    The blend of an image is drawn evenly between the two limits. Strokes are the bright parts.

    Attributes:
        bolder: greatest share of the 3×3 maximum, in [0, 1].
        finer: greatest share of the 3×3 minimum, in [0, 1]; at 1 a stroke of two pixels is gone.

    Example:
        >>> Strokes(bolder=0, finer=0)(torch.ones(2, 1, 8, 8)).sum().item()
        128.0
    """

    bolder: float = 1.0
    finer: float = 0.5

    def __post_init__(self) -> None:
        _check_range("Strokes.bolder", self.bolder, 0, 1)
        _check_range("Strokes.finer", self.finer, 0, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W)."""
        draws = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype)
        share = draws * (self.bolder + self.finer) - self.finer
        # Minima are maxima of what is left below.
        side = torch.where(share > 0, 1.0, -1.0).to(images.dtype)
        pooled = side * F.max_pool2d(side * images, 3, stride=1, padding=1)
        return torch.lerp(images, pooled, share.abs())


@dataclass(frozen=True)
class Inks:
    """Darker or paler ink on white: what each image lacks of white, times a factor.

    The factor of an image is drawn evenly in its logarithm; no ink is darker than black.

    Attributes:
        most: greatest factor, and the inverse of the least; 1 or more.

    Example:
        >>> Inks()(torch.ones(2, 1, 8, 8)).sum().item()
        128.0
    """

    most: float = 3.0

    def __post_init__(self) -> None:
        _check_range("Inks.most", self.most, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W), in [0, 1]."""
        return 1 - ((1 - images) * _factors(images, 1, self.most)).clamp(max=1)


@dataclass(frozen=True)
class Tints:
    """Another colour of light: each channel of each image times a factor.

    The factors are drawn evenly in their logarithm; no channel is brighter than 1.

    Attributes:
        most: greatest factor, and the inverse of the least; 1 or more.

    Example:
        >>> Tints()(torch.zeros(2, 3, 8, 8)).sum().item()
        0.0
    """

    most: float = 3.0

    def __post_init__(self) -> None:
        _check_range("Tints.most", self.most, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W), in [0, 1]."""
        return (images * _factors(images, images.shape[1], self.most)).clamp(max=1)


@dataclass(frozen=True)
class Chain:
    """One distortion after another.

    Attributes:
        parts: distortions of images (n, C, H, W), the first one first.
    """

    parts: tuple[Callable[[Tensor], Tensor], ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W)."""
        for part in self.parts:
            images = part(images)
        return images
