"""Families for codes that go round: angles, and directions in more dimensions."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Distribution

from ...codes import base_support, is_angle, keep_unit
from ...errors import DeclarationError
from .head import FLOOR, Head

__all__ = ["ProjectedNormal", "VonMises"]

# Below it the density's digits on the far side are lost in float64.
_LEAST_FLOOR = 0.01


class VonMises(Head):
    """Location and concentration κ of an angle, from the two numbers κ (cos, sin).

    For a prior on an interval, an angle is told as the number within half a turn of its middle.

    κ is kept within [0.001, 10,000]: at infinity von Mises sampling would never end.
    """

    centre: Tensor

    def __init__(self, prior: Distribution, features: int) -> None:
        base = base_support(prior)
        if isinstance(base, constraints.interval):
            width = torch.as_tensor(base.upper_bound) - torch.as_tensor(base.lower_bound)
            turns = bool((width > 2 * math.pi + 1e-4).any())
        else:
            turns = not is_angle(prior)
        if turns:
            # A density that repeats itself would be counted once a turn, and be no density.
            raise DeclarationError(
                "families.VonMises",
                got=f"a prior with support {base}",
                expected="an angle: dist.VonMises, or an interval of at most 2π",
                fix="Declare the code in radians, or use families.Normal.",
            )
        super().__init__(features, prior.event_shape, 2)
        self.around = not is_angle(prior)
        keep_unit(self, prior)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        cosine, sine = self.elements(features).unbind(-1)
        # At the origin neither the angle nor the length has a gradient.
        cosine = cosine + 1e-6
        concentration = torch.hypot(cosine, sine).clamp(1e-3, 1e4)
        angle = torch.atan2(sine, cosine)
        if self.around:
            posterior = _VonMisesAround(angle, concentration, self.centre)
        else:
            posterior = dist.VonMises(angle, concentration)
        return posterior.to_event(len(self.vector))


class _VonMisesAround(dist.VonMises):
    """A von Mises distribution of angles told as the numbers within half a turn of a centre."""

    def __init__(self, loc: Tensor, concentration: Tensor, centre: Tensor) -> None:
        self.centre = centre
        super().__init__(self._told(loc), concentration)

    def _told(self, angle: Tensor) -> Tensor:
        turns = (angle - self.centre + math.pi).remainder(2 * math.pi)
        return self.centre - math.pi + turns

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._told(super().sample(torch.Size(sample_shape)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_VonMisesAround":
        del _instance
        parts = self.loc.expand(batch_shape), self.concentration.expand(batch_shape)
        return _VonMisesAround(*parts, self.centre)


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
