"""A set of images in memory."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from ..errors import DataError
from ..images import scaled

__all__ = ["ImageSet", "read_image"]

_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True, eq=False)
class ImageSet(Dataset[tuple[Tensor, Tensor]]):
    """Images with labels, as tensors.

    Attributes:
        images: (n, C, H, W), uint8 or floats in [0, 1].
        labels: (n,), whole numbers; kept as int64.

    Raises:
        DataError: for labels that are not one whole number for each image.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        labels = self.labels
        whole = isinstance(labels, Tensor) and not labels.is_floating_point()
        if not whole or labels.shape != (len(self.images),):
            shape = f"{labels.dtype} of shape {tuple(labels.shape)}" if whole else repr(labels)[:60]
            raise DataError(
                "labels",
                got=shape,
                expected=f"{len(self.images)} whole numbers, one for each image",
                fix="Give a tensor of integers, from the source of the images.",
            )
        # Bytes would index as a mask.
        object.__setattr__(self, "labels", labels.to(torch.int64))

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor) -> "ImageSet":
        """The images at ``indices`` (k,), with their labels."""
        return ImageSet(self.images[indices], self.labels[indices])

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
