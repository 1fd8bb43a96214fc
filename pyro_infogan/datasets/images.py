"""A set of images, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DataError, checked_count
from ..images import checked_images, scaled

__all__ = ["Factor", "ImageSet", "counted", "tensor_of"]

MADE_TO_TRAIN, MADE_TO_TEST = 20_000, 5_000

# Stands for the default; what it holds is never read.
UNLABELLED = torch.empty(0, dtype=torch.int64)


def counted(what: str, n: int | None, train: bool) -> int:
    """How many images to make: 20,000 to train on or 5,000 others, where it is not said.

    Raises:
        DataError: for less than one.
    """
    default = MADE_TO_TRAIN if train else MADE_TO_TEST
    return checked_count(what, default if n is None else n, least=1)


@dataclass(frozen=True, eq=False)
class Factor:
    """What an image was made with, or is known to show: the truth that a code may follow.

    Attributes:
        values: (n,), floats where it varies along a line or a circle, whole numbers from 0 up, or
            booleans, where it takes kinds; kept as float32 or float64, and as int64.
        period: length of the circle that it turns round, such as 2π of an azimuth that sees all
            sides; None on a line.

    Raises:
        DataError: for values that are not one finite number for each image, or kinds below 0.
    """

    values: Tensor
    period: float | None = None

    def __post_init__(self) -> None:
        values = self.values
        good = isinstance(values, Tensor) and values.dim() == 1 and not values.is_complex()
        if not good or not values.isfinite().all():
            raise DataError(
                "factor",
                got=f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else repr(values),
                expected="one finite number for each image, (n,)",
                fix="Give a tensor of floats, or of whole numbers for kinds.",
            )
        if values.is_floating_point():
            kept = values if values.dtype == torch.float64 else values.float()
        else:
            kept = values.long()
            if (kept < 0).any():
                raise DataError(
                    "factor",
                    got=f"kind {kept.min().item()}",
                    expected="kinds from 0 up",
                    fix="Number them anew, and leave out images whose kind is not known.",
                )
        object.__setattr__(self, "values", kept)

    @property
    def is_kind(self) -> bool:
        """Whether it takes kinds."""
        return not self.values.is_floating_point()


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset[tuple[Tensor, Tensor]]):
    """Images, with what is known of them.

    Attributes:
        images: (n, C, H, W), uint8 or floats in [0, 1]; in memory, or mapped from a file.
        labels: (n,), whole numbers, −1 for an image without one; kept as int64 on the CPU. By
            default none has one.
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
        object.__setattr__(self, "labels", labels.to("cpu", torch.int64))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> Tensor:
        """Indices of the images that have a label."""
        return (self.labels >= 0).nonzero().squeeze(-1)

    def subset(self, indices: Tensor | slice) -> "ImageSet":
        """The images at ``indices`` (k,) with what is known of them; of a slice, without a copy."""
        places: list[int] = torch.arange(len(self))[indices].tolist()
        return ImageSet(
            self.images[indices],
            self.labels[indices],
            {
                name: Factor(factor.values[indices], factor.period)
                for name, factor in self.factors.items()
            },
            [self.names[place] for place in places] if self.names else (),
        )

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image (C, H, W) as floats in [0, 1], and its label."""
        return scaled(self.images[index]), self.labels[index]


def tensor_of(images: ImageSet | Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """The images of a set, or those given, after the look of :func:`checked_images`.

    Raises:
        DataError: as it does.
    """
    given = images.images if isinstance(images, ImageSet) else images
    return checked_images(given, image_shape).detach()
