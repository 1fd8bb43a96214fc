r"""Convolutions whose costliest parts are matrix products, for training on a CPU.

A convolution is a matrix product once every window of the image lies in a row of a matrix
(Chellapilla et al. 2006). oneDNN's convolutions need no such matrix, and win on large images. On
small ones, and for the gradient of the weights in bfloat16, they run at a fraction of what many a
processor gives a product of matrices: the layers here take whichever is faster of two equal forms.
In evaluation, on other devices, for few channels and for whatever else the forms do not cover they
are PyTorch's own.

With :math:`U` taking an image to its windows, a convolution is :math:`y = U(x) W^T` and the
transposed one its adjoint :math:`U^T(x W)`. The gradients of either are the other one, and
:math:`g^T U(x)` for the weights.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..devices import made_by_amd

__all__ = ["Convolution", "TransposedConvolution"]

# Measured on 2 cores with AMX and on 2 of Zen 5, oneDNN 3.13: both forms of each part, on layers of
# the paper.
_CHANNELS = 16
"""Fewest channels: smaller windows are copied in pieces too small to be worth it."""
_SMALL = 0 if made_by_amd() else 16
"""Most windows of an image for which the matrix is faster in every part."""
_MIDDLE = 64
"""Most windows for which it is for the gradient of bfloat16 weights."""

Size = tuple[int, ...]


@dataclass(frozen=True)
class _Shape:
    """A convolution of images of one size, and its adjoint; weights are (outputs, inputs, ...)."""

    image: Size
    kernel: Size
    stride: Size
    padding: Size

    @property
    def rows(self) -> Size:
        """Windows down and across."""
        return tuple(
            (length + 2 * padding - kernel) // stride + 1
            for length, kernel, stride, padding in zip(
                self.image, self.kernel, self.stride, self.padding, strict=True
            )
        )

    @property
    def small(self) -> bool:
        return self.rows[0] * self.rows[1] <= _SMALL

    def windows(self, images: Tensor) -> Tensor:
        """U: images (n, C, H, W) as rows of windows (n · windows, kernel height · width · C)."""
        down, right = self.padding
        padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, right, right, down, down)).contiguous()
        n, _, _, channels = padded.shape
        sample, row, column, _ = padded.stride()
        taken = padded.as_strided(
            (n, *self.rows, *self.kernel, channels),
            (sample, row * self.stride[0], column * self.stride[1], row, column, 1),
        )
        return taken.reshape(n * self.rows[0] * self.rows[1], -1)

    def overlay(self, windows: Tensor) -> Tensor:
        """Uᵀ: the sum of windows, each at its place, as images (n, C, H, W)."""
        (height, width), (down, right) = self.image, self.padding
        windows = windows.view(-1, *self.rows, *self.kernel, windows.shape[1] // self.taps)
        whole = windows.new_zeros(
            len(windows), height + 2 * down, width + 2 * right, windows.shape[-1]
        )
        for y, x in product(range(self.kernel[0]), range(self.kernel[1])):
            (step_y, step_x), (rows, columns) = self.stride, self.rows
            whole[:, y : y + step_y * rows : step_y, x : x + step_x * columns : step_x] += windows[
                :, :, :, y, x
            ]
        kept = whole[:, down : down + height, right : right + width]
        # Batch norm is several times slower on a view with gaps.
        return kept.contiguous().permute(0, 3, 1, 2)

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    def convolve(self, images: Tensor, weight: Tensor) -> Tensor:
        """Images (n, inputs, H, W) to (n, outputs, h, w)."""
        if not self.small:
            return F.conv2d(images, weight, None, self.stride, self.padding)
        outputs = self.windows(images) @ _matrix(weight).t()
        return _images(outputs, self.rows)

    def adjoint(self, images: Tensor, weight: Tensor) -> Tensor:
        """Images (n, outputs, h, w) to (n, inputs, H, W)."""
        if not self.small:
            extra = [
                length + 2 * padding - kernel - (rows - 1) * stride
                for length, padding, kernel, rows, stride in zip(
                    self.image, self.padding, self.kernel, self.rows, self.stride, strict=True
                )
            ]
            return F.conv_transpose2d(images, weight, None, self.stride, self.padding, extra)
        return self.overlay(_dense(images) @ _matrix(weight))

    def weight_gradient(self, images: Tensor, gradient: Tensor, weight: Tensor) -> Tensor:
        """Of a convolution of ``images`` with ``gradient`` at its output."""
        rows, columns = self.rows
        reduced = images.dtype == torch.bfloat16 and rows * columns <= _MIDDLE
        if self.small or reduced:
            product = _dense(gradient).t() @ self.windows(images)
            return product.view(len(weight), *self.kernel, -1).permute(0, 3, 1, 2)
        return torch.ops.aten.convolution_backward(
            gradient, images, weight, None, self.stride, self.padding, [1, 1], False, [0, 0], 1,
            [False, True, False],
        )[1]  # fmt: skip


def _matrix(weight: Tensor) -> Tensor:
    """Weights (outputs, inputs, height, width) as (outputs, the order of a window)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _dense(images: Tensor) -> Tensor:
    """Images (n, C, h, w) as rows (n · h · w, C)."""
    return images.permute(0, 2, 3, 1).flatten(0, 2)


def _images(dense: Tensor, size: Size) -> Tensor:
    """The way back."""
    return dense.view(-1, *size, dense.shape[1]).permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
        ctx.shape = shape
        ctx.save_for_backward(images, weight)
        return shape.convolve(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        needs_images, needs_weight, _ = ctx.needs_input_grad
        return (
            ctx.shape.adjoint(gradient, weight) if needs_images else None,
            ctx.shape.weight_gradient(images, gradient, weight) if needs_weight else None,
            None,
        )


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
        ctx.shape = shape
        ctx.save_for_backward(images, weight)
        return shape.adjoint(images, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,), (images, weight) = gradients, ctx.saved_tensors
        needs_images, needs_weight, _ = ctx.needs_input_grad
        return (
            ctx.shape.convolve(gradient, weight) if needs_images else None,
            ctx.shape.weight_gradient(gradient, images, weight) if needs_weight else None,
            None,
        )


def _applies(layer: nn.Conv2d | nn.ConvTranspose2d, images: Tensor) -> bool:
    """Whether the forms here are those of this layer, and worth it."""
    return (
        layer.training
        and images.device.type == "cpu"
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
        and images.dim() == 4
        and len(images) > 0
        and layer.groups == 1
        and set(layer.dilation) == {1}
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        # Which autocast leaves as they are.
        and not (images.dtype == torch.float64 and torch.is_autocast_enabled("cpu"))
    )


def _apply(
    function: type[torch.autograd.Function],
    layer: nn.Conv2d | nn.ConvTranspose2d,
    images: Tensor,
    size: Size,
) -> Tensor:
    shape = _Shape(size, layer.kernel_size, layer.stride, tuple(map(int, layer.padding)))
    casting = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if casting else images.dtype
    # Here, since inside the function autocast would leave out its backward pass.
    images, weight = images.to(dtype), layer.weight.to(dtype)
    with torch.autocast("cpu", enabled=False):
        outputs = function.apply(images, weight, shape)
    return outputs if layer.bias is None else outputs + layer.bias.to(dtype)[:, None, None]


class Convolution(nn.Conv2d):
    """``nn.Conv2d``, whose own forward pass stays that of groups, dilation and other padding."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the base's name
        """Images (n, C, H, W) to images."""
        if not _applies(self, input):
            return super().forward(input)
        return _apply(_Convolve, self, input, input.shape[2:])


class TransposedConvolution(nn.ConvTranspose2d):
    """``nn.ConvTranspose2d``, likewise; its weights are (inputs, outputs, height, width)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """Images (n, C, H, W) to images."""
        if output_size is not None or not _applies(self, input):
            return super().forward(input, output_size)
        sides = zip(
            input.shape[2:], self.stride, self.kernel_size, self.padding, self.output_padding,
            strict=True,
        )  # fmt: skip
        size = tuple(
            (length - 1) * stride + kernel - 2 * int(padding) + extra
            for length, stride, kernel, padding, extra in sides
        )
        return _apply(_Adjoint, self, input, size)
