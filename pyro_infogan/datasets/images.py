"""A set of images, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from ..errors import DataError
from ..images import scaled

__all__ = ["Factor", "ImageSet", "read_image"]

_MODES = {1: "L", 3: "RGB"}

# Stands for the default; what it holds is never read.
UNLABELLED = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class Factor:
    """What an image was made with, or is known to show: the truth that a code may follow.

    Attributes:
        values: (n,), floats where it varies along a line or a circle, whole numbers where it takes
            kinds.
        period: length of the circle that it turns round, such as 2π of an azimuth that sees all
            sides; None on a line.

    Raises:
        DataError: for values that are not one finite number for each image.
    """

    values: Tensor
    period: float | None = None

    def __post_init__(self) -> None:
        values = self.values
        if not isinstance(values, Tensor) or values.dim() != 1 or not values.isfinite().all():
            raise DataError(
                "factor",
                got=f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else repr(values),
                expected="one finite number for each image, (n,)",
                fix="Give a tensor of floats, or of whole numbers for kinds.",
            )

    @property
    def is_kind(self) -> bool:
        """Whether it takes kinds."""
        return not self.values.is_floating_point()


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset[tuple[Tensor, Tensor]]):
    """Images, with what is known of them.

    Attributes:
        images: (n, C, H, W), uint8 or floats in [0, 1]; in memory, or mapped from a file.
        labels: (n,), whole numbers, −1 for an image without one; kept as int64. By default none
            has one.
        factors: what else is known of each image, by name.
        names: where each image comes from, such as its path in a folder; empty where they have no
            names.

    Raises:
        DataError: for labels, factors or names that are not one for each image.
    """

    images: Tensor
    labels: Tensor = UNLABELLED
    factors: Mapping[str, Factor] = field(default_factory=dict)
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        n, labels = len(self.images), self.labels
        if labels is UNLABELLED:
            labels = torch.full((n,), -1)
        whole = isinstance(labels, Tensor) and not labels.is_floating_point()
        if not whole or labels.shape != (n,):
            shape = f"{labels.dtype} of shape {tuple(labels.shape)}" if whole else repr(labels)[:60]
            raise DataError(
                "labels",
                got=shape,
                expected=f"{n} whole numbers, one for each image",
                fix="Give a tensor of integers, from the source of the images.",
            )
        lengths = {name: len(factor.values) for name, factor in self.factors.items()}
        lengths |= {"names": len(self.names)} if self.names else {}
        for name, length in lengths.items():
            if length != n:
                raise DataError(
                    f"{name} of the images", got=length, expected=n, fix="Give one for each image."
                )
        # Bytes would index as a mask.
        object.__setattr__(self, "labels", labels.to(torch.int64))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> Tensor:
        """Indices of the images that have a label."""
        return (self.labels >= 0).nonzero().squeeze(-1)

    def subset(self, indices: Tensor | slice) -> "ImageSet":
        """The images at ``indices`` (k,) with what is known of them; of a slice, without a copy."""
        places = torch.arange(len(self))[indices]
        return ImageSet(
            self.images[indices],
            self.labels[indices],
            {
                name: Factor(factor.values[indices], factor.period)
                for name, factor in self.factors.items()
            },
            [self.names[place] for place in places.tolist()] if self.names else (),
        )

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image (C, H, W) as floats in [0, 1], and its label."""
        return scaled(self.images[index]), self.labels[index]


def read_image(path: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """An image file as uint8 (C, H, W): made grey or colour, and resized, as ``image_shape`` asks.

    Transparency is dropped; resizing is bilinear with antialiasing and does not keep the aspect
    ratio.

    Raises:
        DataError: for a file that is missing, broken, or deeper than 8 bits a channel.
    """
    channels, height, width = image_shape
    if channels not in _MODES:
        raise DataError(
            f"image {path}",
            got=f"a run with {channels} channels",
            expected="1 (grey) or 3 (colour)",
            fix="Read the file yourself and pass a tensor to gan.infer.",
        )
    try:
        with Image.open(path) as file:
            if file.mode.startswith(("I", "F")):
                raise DataError(
                    f"image {path}",
                    got=f"mode {file.mode}",
                    expected="8 bits a channel",
                    fix="Convert it first: only you know which range of values is black to white.",
                )
            image = file.convert(_MODES[channels])
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"image {path}", got=error, expected="an image that Pillow reads", fix="Check the file."
        ) from error
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return pil_to_tensor(image)
