"""SVHN: four Cat(10) and four U(−1, 1), networks of appendix C; Figure 5."""

import pyro.distributions as dist
import torch

from .. import datasets
from ..inference import Objective
from .experiment import Experiment
from .networks import paper_colour

__all__ = ["svhn"]

svhn = Experiment(
    codes={
        **{f"k{number}": dist.Categorical(torch.ones(10)) for number in range(1, 5)},
        **{f"c{number}": dist.Uniform(-1.0, 1.0) for number in range(1, 5)},
    },
    image_shape=(3, 32, 32),
    data=datasets.street_numbers,
    real=datasets.svhn,
    noise=124,
    # Not the paper's: drawn images have no grain, by which the discriminator would tell them.
    objective=Objective(instance_noise=0.1),
    networks=paper_colour,
)
