"""MNIST, from the files inside the package."""

import gzip
from functools import cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from .images import ImageSet

__all__ = ["mnist"]


def _read(name: str) -> Tensor:
    """An IDX file: two zero bytes, a type (8 for bytes), the number of axes, their sizes, data."""
    file = resources.files("pyro_infogan.datasets") / "data" / "mnist" / name
    raw = gzip.decompress(file.read_bytes())
    axes = raw[3]
    shape = np.frombuffer(raw, ">i4", count=axes, offset=4)
    # A copy, since torch wants memory that it may write to.
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape).copy())


def mnist(train: bool = True) -> ImageSet:
    """Handwritten digits 1×28×28 with labels 0 to 9; needs no network.

    Args:
        train: the 60,000 training images, or the 10,000 test images.

    Source: Yann LeCun and Corinna Cortes, CC BY-SA 3.0.

    Example:
        >>> len(mnist()), len(mnist(train=False))
        (60000, 10000)
        >>> image, label = mnist(train=False)[0]
        >>> image.shape, label.item()
        (torch.Size([1, 28, 28]), 7)
    """
    images, labels = _mnist("train" if train else "t10k")
    # The caller's own, to change as they like.
    return ImageSet(images.clone(), labels.clone())


@cache
def _mnist(prefix: str) -> tuple[Tensor, Tensor]:
    images = _read(f"{prefix}-images-idx3-ubyte.gz").unsqueeze(1)
    return images, _read(f"{prefix}-labels-idx1-ubyte.gz")
