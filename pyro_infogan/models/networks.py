"""Networks: the generator, and the trunk that discriminator and posterior share.

:data:`Networks` functions build both for an image shape. :func:`paper_mnist` is the table of the
paper's appendix C.1; :func:`dcgan` fits any other size. Images are (n, C, H, W) in [0, 1].

Dense layers meet images in channels-last order, so that convolutions never have to reorder memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import DeclarationError

__all__ = ["Networks", "Pair", "dcgan", "for_shape", "initialise", "paper_mnist", "posterior_layer"]

ImageShape = tuple[int, int, int]

LEAK = 0.1
SMALLEST = 8
"""Least height and width: below it there is nothing to convolve."""
_WIDEST = 512


@dataclass(frozen=True)
class Pair:
    """What :data:`Networks` build.

    Attributes:
        generator: (n, inputs) → images (n, C, H, W) in [0, 1].
        trunk: images → (n, features).
        features: width of the trunk's output.
        initialise: draws the first weights of either; by default they stay as they were built.
    """

    generator: nn.Module
    trunk: nn.Module
    features: int
    initialise: Callable[[nn.Module], None] | None = None


Networks = Callable[[ImageShape, int], Pair]
"""``networks(image_shape, inputs)``, where ``inputs`` is the width of noise and encoded codes."""


class ToImage(nn.Module):
    """Dense (n, H·W·C) to image (n, C, H, W) with channels last in memory."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, dense: Tensor) -> Tensor:
        """Reorder no memory, only strides."""
        return dense.unflatten(1, (*self.size, -1)).permute(0, 3, 1, 2)


class FromImage(nn.Module):
    """The way back: image (n, C, H, W) to dense (n, H·W·C)."""

    def forward(self, images: Tensor) -> Tensor:
        """Reorder no memory where channels are last."""
        return images.permute(0, 2, 3, 1).flatten(1)


def _dense(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    # Batch norm has a bias of its own.
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation]


def posterior_layer(features: int, width: int) -> nn.Sequential:
    """Q's hidden layer above the trunk: dense, batch norm, leaky ReLU."""
    return nn.Sequential(*_dense(features, width, nn.LeakyReLU(LEAK)))


def paper_mnist(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's MNIST networks (appendix C.1, table 1).

    Raises:
        DeclarationError: for images other than 1×28×28.
    """
    if tuple(image_shape) != (1, 28, 28):
        raise DeclarationError(
            "networks.paper_mnist",
            got=f"image_shape={tuple(image_shape)}",
            expected="(1, 28, 28)",
            fix="Use networks.dcgan.",
        )
    generator = nn.Sequential(
        *_dense(inputs, 1024, nn.ReLU()),
        *_dense(1024, 7 * 7 * 128, nn.ReLU()),
        ToImage(7, 7),
        nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    trunk = nn.Sequential(
        nn.Conv2d(1, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(LEAK),
        nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(128),
        nn.LeakyReLU(LEAK),
        FromImage(),
        *_dense(7 * 7 * 128, 1024, nn.LeakyReLU(LEAK)),
    )
    return Pair(generator, trunk, 1024, initialise)


def dcgan(image_shape: ImageShape, inputs: int) -> Pair:
    """Networks after Radford et al. 2016, as deep as the image is large.

    Every level halves the image until its shorter side is under 8 and doubles the channels, from 64
    to 512 at most; a dense layer of 1024 joins codes and images as in the paper's. Sides need not
    be powers of two.

    Raises:
        DeclarationError: for images under 8×8.
    """
    channels, height, width = image_shape
    if min(height, width) < SMALLEST or channels < 1:
        raise DeclarationError(
            "networks.dcgan",
            got=f"image_shape={tuple(image_shape)}",
            expected=f"(channels, height, width), at least (1, {SMALLEST}, {SMALLEST})",
            fix="Enlarge the images.",
        )
    sizes = [(height, width)]
    while min(sizes[-1]) >= SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    widths = [min(64 * 2**level, _WIDEST) for level in range(len(sizes) - 1)]
    top = sizes[-1][0] * sizes[-1][1] * widths[-1]

    trunk: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(LEAK)]
    for narrow, wide in pairwise(widths):
        trunk += [
            nn.Conv2d(narrow, wide, 4, 2, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.LeakyReLU(LEAK),
        ]
    trunk += [FromImage(), *_dense(top, 1024, nn.LeakyReLU(LEAK))]

    generator: list[nn.Module] = [
        *_dense(inputs, 1024, nn.ReLU()),
        *_dense(1024, top, nn.ReLU()),
        ToImage(*sizes[-1]),
    ]
    for level in range(len(widths) - 1, -1, -1):
        # A halving that dropped a row or column gets it back.
        odd = (sizes[level][0] % 2, sizes[level][1] % 2)
        narrow = widths[level - 1] if level else channels
        generator.append(
            nn.ConvTranspose2d(widths[level], narrow, 4, 2, 1, output_padding=odd, bias=not level)
        )
        generator += [nn.BatchNorm2d(narrow), nn.ReLU()] if level else [nn.Sigmoid()]
    return Pair(nn.Sequential(*generator), nn.Sequential(*trunk), 1024, initialise)


def for_shape(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's networks where they fit, else :func:`dcgan`."""
    paper = tuple(image_shape) == (1, 28, 28)
    return (paper_mnist if paper else dcgan)(image_shape, inputs)


def initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), batch-norm scales N(1, 0.02), biases 0, as in the official code."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
    module.to(memory_format=torch.channels_last)
