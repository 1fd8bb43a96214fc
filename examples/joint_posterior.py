"""A posterior over several codes at once: one family for them, or a guide of your own.

    pyro-infogan train examples/joint_posterior.py:together
    pyro-infogan train examples/joint_posterior.py:guided

Two codes that change an image alike are confused after the fact: given the image they are
correlated, and a posterior that treats them apart loses that part of the information.
"""

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_infogan import Experiment, datasets, families
from pyro_infogan.codes import CodePrior

codes = {
    "digit": dist.Categorical(torch.ones(10)),
    "slant": dist.Uniform(-1.0, 1.0),
    "width": dist.Uniform(-1.0, 1.0),
}

# One family for two codes: a normal over both, its covariance learned for each image.
together = Experiment(
    codes,
    image_shape=(1, 28, 28),
    data=datasets.mnist,
    posterior={("slant", "width"): families.MultivariateNormal},
    steps=1_000,
)


class Guide(nn.Module):
    """Q(digit | x) Q(slant | x, digit) Q(width | x, digit, slant): a Pyro program over features."""

    def __init__(self, prior: CodePrior, features: int) -> None:
        super().__init__()
        self.digit = nn.Linear(features, 10)
        self.slant = nn.Linear(features + 10, 2)
        self.width = nn.Linear(features + 11, 2)

    def forward(self, features: Tensor) -> None:
        """Sample every code, for features (n, F)."""
        digit = pyro.sample("digit", dist.Categorical(logits=self.digit(features)))
        features = torch.cat([features, F.one_hot(digit, 10)], -1)
        mean, log_scale = self.slant(features).unbind(-1)
        slant = pyro.sample("slant", dist.Normal(mean, log_scale.exp() + 0.1))
        features = torch.cat([features, slant.unsqueeze(-1)], -1)
        mean, log_scale = self.width(features).unbind(-1)
        pyro.sample("width", dist.Normal(mean, log_scale.exp() + 0.1))


guided = Experiment(
    codes, image_shape=(1, 28, 28), data=datasets.mnist, posterior=Guide, steps=1_000
)
