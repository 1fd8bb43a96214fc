"""A family for codes that are directions."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Distribution

from ...codes import base_support
from ...errors import DeclarationError
from .head import FLOOR, Head

__all__ = ["ProjectedNormal"]

# Below it the density's digits on the far side are lost in float64.
_LEAST_FLOOR = 0.01


class ProjectedNormal(Head):
    """The direction of a normal of unit scale about some point, for codes that are directions.

    Hernandez-Stumpfhauser et al. 2017, in two, three or four dimensions.

    Args:
        prior: a prior on a sphere, such as ``dist.ProjectedNormal(torch.zeros(3))``, every
            direction alike; or a vector of such.
        features: width of Q's last hidden layer.
        floor: the point is no further off than 1/floor, where directions spread by about so many
            radians; at least 0.01.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        base = base_support(prior)
        sphere = isinstance(base, type(constraints.sphere))
        if not sphere or prior.event_shape[-1] not in (2, 3, 4) or floor < _LEAST_FLOOR:
            raise DeclarationError(
                "families.ProjectedNormal",
                got=f"a prior with support {base} and event shape {tuple(prior.event_shape)}, "
                f"floor {floor}",
                expected=f"two to four coordinates of a direction, floor {_LEAST_FLOOR} or more",
                fix="Choose a family for this support.",
            )
        *vector, dimensions = prior.event_shape
        super().__init__(features, tuple(vector), dimensions)
        self.floor = floor

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        point = self.elements(features)
        furthest = 1 / self.floor
        point = point * (furthest / point.norm(dim=-1, keepdim=True).clamp(min=furthest))
        return _Projected(point).to_event(len(self.vector))


class _Projected(dist.ProjectedNormal):
    """Pyro's distribution, whose density has all its digits on the far side too.

    Pyro's own ends at float32's smallest step there, and has no gradient: a Q that is surely wrong
    would stay it.
    """

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Projected":
        del _instance
        return _Projected(self.concentration.expand(*batch_shape, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        point, to = self.concentration.double(), value.double()
        along = (point * to).sum(-1)
        # The normal across the direction, and its density integrated along it: with x for the
        # distance, of x^(d − 1) φ(x − along) from 0.
        across = -0.5 * (point - along.unsqueeze(-1) * to).square().sum(-1)
        dimensions = value.shape[-1]
        root = math.sqrt(math.pi / 2)
        behind, before = along.clamp(max=0), along.clamp(min=0)
        # Φ/φ: of the far side it is a quotient, where neither is told by itself.
        far = _moment(dimensions, behind, root * torch.special.erfcx(-behind / math.sqrt(2)))
        near = root * torch.special.erfc(-before / math.sqrt(2))
        close = _moment(dimensions, before, near, torch.exp(-before.square() / 2))
        integral = torch.where(along < 0, far.log() - 0.5 * behind.square(), close.log())
        return (across + integral - 0.5 * dimensions * math.log(2 * math.pi)).to(value.dtype)


def _moment(
    dimensions: int, t: Tensor, cumulative: Tensor, density: Tensor | float = 1.0
) -> Tensor:
    """∫₀^∞ x^(d − 1) φ(x − t) dx, from Φ(t) and φ(t), both over one number."""
    if dimensions == 2:
        return density + t * cumulative
    if dimensions == 3:
        return t * density + (1 + t**2) * cumulative
    return (2 + t**2) * density + t * (3 + t**2) * cumulative
