"""What moves the accuracy on MNIST: one change at a time, as experiments.

    python benchmarks/seeds.py benchmarks/study.py:strokes

RESULTS.md has what they gave.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pyro_infogan import Affine, Chain, Invariance, Objective, Rates, Strokes, families
from pyro_infogan.models.chairs import chairs, chairs_small
from pyro_infogan.models.faces import faces
from pyro_infogan.models.mnist import mnist, mnist_paper
from pyro_infogan.models.networks import (
    Networks,
    Pair,
    dcgan,
    initialise,
    paper_mnist,
)


def distorted(distort: Callable[[Tensor], Tensor], share: float = 1.0) -> Objective:
    """The objective of ``mnist`` with another distortion, or a share of it."""
    return Objective(invariance=Invariance(distort, codes=("digit",), share=share))


def continuous(family: families.Family) -> dict[str, families.Family]:
    """One family for both continuous codes."""
    return dict.fromkeys(("slant", "width"), family)


def with_trunk(change: Callable[[nn.Module], nn.Module]) -> Networks:
    """The paper's networks with another trunk, initialised before it is changed."""

    def networks(image_shape: tuple[int, int, int], inputs: int) -> Pair:
        pair = paper_mnist(image_shape, inputs)
        initialise(pair.generator)
        initialise(pair.trunk)
        return replace(pair, trunk=change(pair.trunk), initialise=None)

    return networks


def spectrally_normed(trunk: nn.Module) -> nn.Module:
    """Every weight of the trunk divided by its largest singular value."""
    for layer in trunk.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spectral_norm(layer)
    return trunk


class Noisy(nn.Module):
    """Adds N(0, std) to each pixel in training, on real and generated images alike."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """Images with noise, of the same shape."""
        return images + self.std * torch.randn_like(images) if self.training else images


class Averaged(nn.Module):
    """Trains a module, and answers with the running average of its weights outside training."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = module
        average = get_ema_multi_avg_fn(decay)
        self.average = AveragedModel(module, multi_avg_fn=average, use_buffers=True)
        self.average.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Features of the present weights in training, else of the averaged ones."""
        if not self.training:
            return self.average(images)
        self.average.update_parameters(self.module)
        return self.module(images)


def narrow(image_shape: tuple[int, int, int], inputs: int) -> Pair:
    """A DCGAN of half the width whose Q has no layer of its own, as the paper's for chairs."""
    return replace(dcgan(image_shape, inputs, width=32), hidden=0)


def torch_initialised(image_shape: tuple[int, int, int], inputs: int) -> Pair:
    """The paper's networks with the first weights that torch gives its layers."""
    return replace(paper_mnist(image_shape, inputs), initialise=None)


# With invariance: which distortions, and how much of them.
strokes = replace(mnist, objective=distorted(Chain((Strokes(), Affine()))))
affine = replace(mnist, objective=distorted(Affine()))
affine_half = replace(mnist, objective=distorted(Affine(), share=0.5))

# Posteriors that stay inside the prior's interval, for their calibration.
truncated_normal = replace(mnist, posterior=continuous(families.TruncatedNormal))
beta = replace(mnist, posterior=continuous(families.Beta))

# The generator judged by images of its own draw.
redrawn = replace(mnist, objective=replace(mnist.objective, redraw=True))
# Azimuth's rates with five codes that pull alike; with scales that are learned, as all faces had
# them; and both.
faces_alike = replace(
    faces, posterior=dict.fromkeys(faces.codes, partial(families.FixedNormal, std=0.3))
)
faces_learned = replace(faces, posterior={})
faces_redrawn = replace(faces_learned, objective=replace(faces.objective, redraw=True))

# Chairs without an invariance of the number: small ones, and those of 64×64 in narrow networks.
chairs_free = replace(chairs_small, objective=chairs.objective)
chairs_narrow = replace(
    chairs_free,
    image_shape=chairs.image_shape,
    data=chairs.data,
    real=chairs.real,
    networks=narrow,
)

# The paper's objective alone, with another setting.
noise_16 = replace(mnist_paper, noise=16)
floor_03 = replace(mnist_paper, posterior=continuous(partial(families.Normal, floor=0.3)))
no_floor = replace(mnist_paper, posterior=continuous(partial(families.Normal, floor=0.0)))
continuous_weight_1 = replace(mnist_paper, information_weights={"slant": 1.0, "width": 1.0})
slow_generator = replace(mnist_paper, rates=Rates(generator=2e-4))
spectral = replace(mnist_paper, networks=with_trunk(spectrally_normed))
instance_noise = replace(
    mnist_paper, networks=with_trunk(lambda trunk: nn.Sequential(Noisy(0.1), trunk))
)
averaged = replace(mnist_paper, networks=with_trunk(lambda trunk: Averaged(trunk, 0.99)))
torch_init = replace(mnist_paper, networks=torch_initialised)

# Not of accuracy: codes of other kinds than the paper's, on a half-line, counted, and on a sphere.
kinds = replace(
    mnist_paper,
    codes={
        "many": dist.Poisson(3.0),
        "gap": dist.Exponential(1.0),
        "way": dist.ProjectedNormal(torch.zeros(3)),
        "wide": dist.LogNormal(0.0, 3.0),
    },
    steps=400,
    batch_size=64,
)
