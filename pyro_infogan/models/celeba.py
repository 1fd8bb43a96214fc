"""CelebA: ten Cat(10), networks of appendix C; Figure 6."""

import pyro.distributions as dist
import torch

from .. import datasets
from .experiment import Experiment
from .networks import paper_colour

__all__ = ["celeba"]

celeba = Experiment(
    codes={f"k{number}": dist.Categorical(torch.ones(10)) for number in range(1, 11)},
    image_shape=(3, 32, 32),
    data=datasets.portraits,
    real=datasets.celeba,
    noise=128,
    networks=paper_colour,
)
