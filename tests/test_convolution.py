"""Convolutions as matrix products: the same function and gradients as PyTorch's own."""

import pytest
import torch
from torch import nn

from pyro_infogan.models import convolution
from pyro_infogan.models.convolution import Convolution, TransposedConvolution

# Every part as a matrix; by size, as by default; and only the gradient of the weights.
LIMITS = {"small": (10**6, 10**6), "default": (16, 64), "weights": (0, 10**6)}

LAYERS = {
    "halving": (Convolution, (16, 24, 4, 2, 1)),
    "level": (Convolution, (16, 24, 4)),
    "uneven": (Convolution, (17, 19, (3, 5), (2, 3), (1, 2))),
    "doubling": (TransposedConvolution, (16, 24, 4, 2, 1)),
    "odd": (TransposedConvolution, (16, 24, 4, 2, 1, (1, 0))),
    "unpadded": (TransposedConvolution, (16, 24, (2, 3), (3, 2))),
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize(("kind", "arguments"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("size", [(4, 5), (9, 12)])
def test_training_and_evaluation_are_one_function(kind, arguments, size, limits, monkeypatch):
    monkeypatch.setattr(convolution, "_SMALL", limits[0])
    monkeypatch.setattr(convolution, "_MIDDLE", limits[1])
    torch.manual_seed(0)
    layer = kind(*arguments).double()
    images = torch.randn(3, arguments[0], *size, dtype=torch.float64, requires_grad=True)
    fast = layer.train()(images)
    own = layer.eval()(images)
    torch.testing.assert_close(fast, own)
    weights = torch.randn_like(own)
    for mine, theirs in zip(
        torch.autograd.grad(fast, [images, *layer.parameters()], weights),
        torch.autograd.grad(own, [images, *layer.parameters()], weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_bfloat16_errs_by_its_rounding(kind, monkeypatch):
    """Against float64: the matrix form may lose no more than a few roundings of 2⁻⁸."""
    monkeypatch.setattr(convolution, "_SMALL", 10**6)
    torch.manual_seed(0)
    layer = kind(32, 48, 4, 2, 1)
    images = torch.randn(8, 32, 8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer.train()(images)
    assert out.dtype == torch.bfloat16
    weights = torch.randn(out.shape)
    ours = [out, *torch.autograd.grad(out, [images, *layer.parameters()], weights.bfloat16())]
    exact = layer.double().eval()
    precise = images.detach().double().requires_grad_()
    truth = exact(precise)
    theirs = [
        truth,
        *torch.autograd.grad(truth, [precise, *exact.parameters()], weights.double()),
    ]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype in (torch.float32, torch.bfloat16)
        error = (mine.double() - other).square().mean().sqrt() / other.square().mean().sqrt()
        assert error < 2**-6


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_frozen_weights_get_no_gradient_and_pass_one_on(kind, monkeypatch):
    monkeypatch.setattr(convolution, "_SMALL", 10**6)
    layer = kind(16, 16, 4, 2, 1)
    layer.requires_grad_(False)
    images = torch.randn(2, 16, 8, 8, requires_grad=True)
    layer(images).sum().backward()
    assert images.grad is not None
    assert all(weight.grad is None for weight in layer.parameters())


def test_weights_are_those_of_pytorchs_layers(monkeypatch):
    monkeypatch.setattr(convolution, "_SMALL", 10**6)
    ours, theirs = Convolution(16, 32, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(ours(images), theirs(images))


OTHERS = {
    "dilated": (Convolution(16, 16, 3, padding=2, dilation=2), (2, 16, 8, 8)),
    "reflecting": (Convolution(16, 16, 3, padding=1, padding_mode="reflect"), (2, 16, 8, 8)),
    "same": (Convolution(16, 16, 3, padding="same"), (2, 16, 8, 8)),
    "groups": (Convolution(32, 32, 3, groups=2), (2, 32, 8, 8)),
    "groups up": (TransposedConvolution(32, 32, 3, groups=2), (2, 32, 8, 8)),
    "dilated up": (TransposedConvolution(16, 16, 3, dilation=2), (2, 16, 4, 4)),
    "one image": (Convolution(16, 16, 3), (16, 8, 8)),
    "no images": (TransposedConvolution(16, 16, 3), (0, 16, 8, 8)),
}


@pytest.mark.parametrize(("layer", "shape"), OTHERS.values(), ids=OTHERS)
def test_what_has_no_matrix_is_pytorchs_in_training_too(layer, shape, monkeypatch):
    monkeypatch.setattr(convolution, "_SMALL", 10**6)
    images = torch.randn(shape)
    torch.testing.assert_close(layer.train()(images), layer.eval()(images))


def test_autocast_leaves_float64_alone(monkeypatch):
    monkeypatch.setattr(convolution, "_SMALL", 10**6)
    layer = Convolution(16, 16, 3).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.train()(torch.randn(2, 16, 8, 8).double()).dtype == torch.float64
