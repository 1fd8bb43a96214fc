"""Images as the library takes them: (n, C, H, W), uint8 or floats in [0, 1]."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import DataError

__all__ = ["checked_images", "scaled", "sheet"]

_CHUNK = 10_000


def checked_images(images: Any, image_shape: tuple[int, int, int]) -> Tensor:
    """``images``, after a look at every property that would otherwise fail late or not at all.

    Raises:
        DataError: for another type, shape or dtype, no images, NaN, or values outside [0, 1].
    """
    if not isinstance(images, Tensor):
        raise DataError(
            "images",
            got=type(images).__name__,
            expected="a tensor (n, C, H, W)",
            fix="Convert arrays with torch.from_numpy.",
        )
    if images.dim() != 4 or tuple(images.shape[1:]) != tuple(image_shape):
        raise DataError(
            "images",
            got=f"shape {tuple(images.shape)}",
            expected=f"(n, {', '.join(map(str, image_shape))})",
            fix="Bring the images to the declared image_shape, or declare theirs.",
        )
    if not len(images):
        raise DataError("images", got="none", expected="at least one", fix="Check the source.")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise DataError(
            "images",
            got=f"dtype {images.dtype}",
            expected="uint8, or floats in [0, 1]",
            fix="Convert with .to(torch.uint8) where the values are 0 to 255.",
        )
    for part in images.split(_CHUNK):
        low, high = part.min().item(), part.max().item()
        # A NaN makes either comparison false.
        if not (low >= 0.0 and high <= 1.0):
            raise DataError(
                "images",
                got="NaN" if low != low else f"values from {low:.4g} to {high:.4g}",
                expected="values in [0, 1]",
                fix="Scale them, or mend the broken ones.",
            )
    return images


def scaled(images: Tensor) -> Tensor:
    """Float32 images in [0, 1] from uint8 or float ones."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def sheet(images: Tensor, columns: int) -> np.ndarray:
    """Images (n, C, H, W) as one array (rows, columns[, 3]), a thin white line around each.

    One channel is shown grey, three in colour; of any other number the first is shown. Places that
    the last row leaves over are white.
    """
    missing = -len(images) % columns
    images = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    padded = F.pad(images.cpu(), (1, 1, 1, 1), value=1.0)
    n, channels, height, width = padded.shape
    grid = padded.unflatten(0, (n // columns, columns)).permute(0, 3, 1, 4, 2)
    whole = grid.reshape(n // columns * height, columns * width, channels).numpy()
    return whole if channels == 3 else whole[..., 0]
