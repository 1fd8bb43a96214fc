"""Networks: the generator, and the trunk that discriminator and posterior share.

:data:`Networks` functions build both for an image shape. Those named ``paper_`` are the tables of
the paper's appendix C; :func:`dcgan` fits any other size. Images are (n, C, H, W) in [0, 1].

Dense layers meet images in channels-last order, so that convolutions never have to reorder memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.parametrize import is_parametrized

from ..errors import DeclarationError
from .convolution import Convolution, TransposedConvolution

__all__ = [
    "Networks",
    "Pair",
    "Trunk",
    "dcgan",
    "for_shape",
    "initialise",
    "paper_chairs",
    "paper_colour",
    "paper_faces",
    "paper_mnist",
    "posterior_layer",
]

ImageShape = tuple[int, int, int]

LEAK = 0.1
SMALLEST = 8
"""Least height and width: below it there is nothing to convolve."""
_DOUBLINGS = 3
"""How often the channels double, from level to level."""


@dataclass(frozen=True)
class Pair:
    """What :data:`Networks` build.

    Attributes:
        generator: (n, inputs) → images (n, C, H, W) in [0, 1].
        trunk: images → (n, features).
        features: width of the trunk's output.
        hidden: width of Q's own layer between trunk and families; 0 for none.
        initialise: draws the first weights of either; by default they stay as they were built.
    """

    generator: nn.Module
    trunk: nn.Module
    features: int
    hidden: int = 128
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


class Trunk(nn.Sequential):
    """A trunk that several batches can pass at once: layers of which batch norm alone mixes images.

    Args:
        layers: one after the other. A layer that looks at several images and is no batch norm has
            no place here.

    Example:
        >>> trunk = Trunk(nn.Flatten(), nn.BatchNorm1d(64))
        >>> one, other = trunk.each(torch.rand(5, 1, 8, 8), torch.rand(3, 1, 8, 8))
        >>> one.shape, other.shape
        (torch.Size([5, 64]), torch.Size([3, 64]))
    """

    def each(self, *batches: Tensor) -> Sequence[Tensor]:
        """Features (n, F) of several batches of images (n, C, H, W), as of one after the other.

        Batch norm takes the statistics of each, all other layers see one large batch: the same
        features and gradients, of fewer and larger products, and of each weight one gradient rather
        than several to be summed. Where that may not be the same, they do pass one after the other:
        in a subclass with a ``forward`` of its own, compiled, with hooks or parametrised weights
        (spectral norm moves at each pass), with a layer twice, or with batch norm inside another.
        """
        if len(batches) < 2 or not self._mixes_by_batch_norm_alone():
            return [self(batch) for batch in batches]
        sizes = [len(batch) for batch in batches]
        images = torch.cat(batches)
        for layer in self:
            if isinstance(layer, _NormBase):
                images = torch.cat([layer(part) for part in images.split(sizes)])
            else:
                images = layer(images)
        return images.split(sizes)

    def _mixes_by_batch_norm_alone(self) -> bool:
        layers = set(self.children())
        return (
            type(self).forward is nn.Sequential.forward
            and self._compiled_call_impl is None
            and len(layers) == len(self)
            and not any(
                _hooked(part)
                or is_parametrized(part)
                or (isinstance(part, _NormBase) and part not in layers)
                for part in self.modules()
            )
        )


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _dense(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    # Batch norm has a bias of its own.
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation]


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    """Half the size."""
    convolution = Convolution(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(LEAK)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    """Twice the size."""
    convolution = TransposedConvolution(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _level(inputs: int, outputs: int, activation: nn.Module) -> list[nn.Module]:
    """The same size: an even kernel needs one more row and column on one side."""
    convolution = Convolution(inputs, outputs, 4, bias=False)
    return [nn.ZeroPad2d((1, 2, 1, 2)), convolution, nn.BatchNorm2d(outputs), activation]


def posterior_layer(features: int, width: int) -> nn.Module:
    """Q's hidden layer above the trunk: dense, batch norm, leaky ReLU; nothing for a width of 0."""
    return nn.Sequential(*_dense(features, width, nn.LeakyReLU(LEAK))) if width else nn.Identity()


def _expect(name: str, image_shape: ImageShape, expected: ImageShape) -> None:
    if tuple(image_shape) != expected:
        raise DeclarationError(
            f"networks.{name}",
            got=f"image_shape={tuple(image_shape)}",
            expected=str(expected),
            fix="Use networks.dcgan.",
        )


def _two_levels(side: int, inputs: int, hidden: int) -> Pair:
    """Grey images of four times ``side``: two convolutions and two dense layers either way."""
    top = side * side * 128
    generator = nn.Sequential(
        *_dense(inputs, 1024, nn.ReLU()),
        *_dense(1024, top, nn.ReLU()),
        ToImage(side, side),
        *_up(128, 64),
        TransposedConvolution(64, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    trunk = Trunk(
        Convolution(1, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(LEAK),
        *_down(64, 128),
        FromImage(),
        *_dense(top, 1024, nn.LeakyReLU(LEAK)),
    )
    return Pair(generator, trunk, 1024, hidden, initialise)


def paper_mnist(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's MNIST networks (appendix C.1, table 1).

    Raises:
        DeclarationError: for images other than 1×28×28.
    """
    _expect("paper_mnist", image_shape, (1, 28, 28))
    return _two_levels(7, inputs, hidden=128)


def paper_faces(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's networks for 3D faces (appendix C): Q has no layer of its own.

    Raises:
        DeclarationError: for images other than 1×32×32.
    """
    _expect("paper_faces", image_shape, (1, 32, 32))
    return _two_levels(8, inputs, hidden=0)


def paper_colour(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's networks for SVHN and CelebA (appendix C).

    The paper ends in tanh, on images in [−1, 1]. In [0, 1] that is (tanh(x) + 1) / 2 = σ(2x): the
    sigmoid here is the same function of weights twice as large.

    Raises:
        DeclarationError: for images other than 3×32×32.
    """
    _expect("paper_colour", image_shape, (3, 32, 32))
    generator = nn.Sequential(
        *_dense(inputs, 2 * 2 * 448, nn.ReLU()),
        ToImage(2, 2),
        *_up(448, 256),
        TransposedConvolution(256, 128, 4, stride=2, padding=1),
        nn.ReLU(),
        TransposedConvolution(128, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        TransposedConvolution(64, 3, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    trunk = Trunk(
        Convolution(3, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(LEAK),
        *_down(64, 128),
        *_down(128, 256),
        FromImage(),
    )
    return Pair(generator, trunk, 4 * 4 * 256, initialise=initialise)


def paper_chairs(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's networks for 3D chairs (appendix C): Q has no layer of its own.

    A transposed convolution of stride 1 is a convolution, and is written as one.

    Raises:
        DeclarationError: for images other than 1×64×64.
    """
    _expect("paper_chairs", image_shape, (1, 64, 64))
    top = 8 * 8 * 256
    generator = nn.Sequential(
        *_dense(inputs, 1024, nn.ReLU()),
        *_dense(1024, top, nn.ReLU()),
        ToImage(8, 8),
        *_level(256, 256, nn.ReLU()),
        *_level(256, 256, nn.ReLU()),
        *_up(256, 128),
        *_up(128, 64),
        TransposedConvolution(64, 1, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    trunk = Trunk(
        Convolution(1, 64, 4, stride=2, padding=1),
        nn.LeakyReLU(LEAK),
        *_down(64, 128),
        *_down(128, 256),
        *_level(256, 256, nn.LeakyReLU(LEAK)),
        *_level(256, 256, nn.LeakyReLU(LEAK)),
        FromImage(),
        *_dense(top, 1024, nn.LeakyReLU(LEAK)),
    )
    return Pair(generator, trunk, 1024, hidden=0, initialise=initialise)


def dcgan(image_shape: ImageShape, inputs: int, width: int = 64) -> Pair:
    """Networks after Radford et al. 2016, as deep as the image is large.

    Every level halves the image until its shorter side is under 8 and doubles the channels, from
    ``width`` to 8 times as many at most; a dense layer of 1024 joins codes and images as in the
    paper's. Sides need not be powers of two.

    Args:
        image_shape: (channels, height, width).
        inputs: how many numbers the generator reads.
        width: channels of the outermost level. Half of them, ``partial(dcgan, width=32)``, are a
            quarter of the arithmetic in all convolutions but the outermost.

    Raises:
        DeclarationError: for images under 8×8, or no channels.
    """
    channels, *shape = image_shape
    if min(shape) < SMALLEST or channels < 1:
        raise DeclarationError(
            "networks.dcgan",
            got=f"image_shape={tuple(image_shape)}",
            expected=f"(channels, height, width), at least (1, {SMALLEST}, {SMALLEST})",
            fix="Enlarge the images.",
        )
    if not isinstance(width, int) or width < 1:
        raise DeclarationError(
            "networks.dcgan",
            got=f"width={width!r}",
            expected="a whole number of channels, at least 1",
            fix="Leave it out for 64.",
        )
    sizes = [tuple(shape)]
    while min(sizes[-1]) >= SMALLEST:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    widths = [width * 2 ** min(level, _DOUBLINGS) for level in range(len(sizes) - 1)]
    top = sizes[-1][0] * sizes[-1][1] * widths[-1]

    trunk: list[nn.Module] = [Convolution(channels, widths[0], 4, 2, 1), nn.LeakyReLU(LEAK)]
    for narrow, wide in pairwise(widths):
        trunk += _down(narrow, wide)
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
            TransposedConvolution(
                widths[level], narrow, 4, 2, 1, output_padding=odd, bias=not level
            )
        )
        generator += [nn.BatchNorm2d(narrow), nn.ReLU()] if level else [nn.Sigmoid()]
    return Pair(nn.Sequential(*generator), Trunk(*trunk), 1024, initialise=initialise)


def for_shape(image_shape: ImageShape, inputs: int) -> Pair:
    """The paper's MNIST networks where they fit, else :func:`dcgan`."""
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
