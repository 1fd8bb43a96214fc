"""A posterior family of your own: a module of a few lines, passed for one code.

    pyro-infogan train examples/own_posterior.py
    pyro-infogan evaluate runs/cauchy

A family is called with the code's prior and the number of features, and gives a module from
features (n, features) to a Pyro distribution with batch shape (n,) and the prior's event shape.
This one is a Cauchy distribution: Q rarely surprised, since its tails are heavy.
"""

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_infogan import Experiment, datasets


class Cauchy(nn.Module):
    """Location and scale of one number, the scale at least 0.1."""

    def __init__(self, prior: dist.TorchDistribution, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        location, log_scale = self.linear(features).unbind(-1)
        return dist.Cauchy(location, log_scale.exp() + 0.1)


cauchy = Experiment(
    codes={"digit": dist.Categorical(torch.ones(10)), "slant": dist.Uniform(-1.0, 1.0)},
    image_shape=(1, 28, 28),
    data=datasets.mnist,
    posterior={"slant": Cauchy},
    steps=1_000,
)
