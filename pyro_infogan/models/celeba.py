"""CelebA: ten Cat(10), networks of appendix C; Figure 6."""

import pyro.distributions as dist
import torch

from .. import datasets
from ..inference import Objective
from .experiment import Experiment
from .networks import paper_colour

__all__ = ["celeba"]

celeba = Experiment(
    codes={f"k{number}": dist.Categorical(torch.ones(10)) for number in range(1, 11)},
    image_shape=(3, 32, 32),
    data=datasets.portraits,
    real=datasets.celeba,
    noise=128,
    # Not the paper's: drawn images have no grain, by which the discriminator would tell them.
    objective=Objective(instance_noise=0.1),
    networks=paper_colour,
)
