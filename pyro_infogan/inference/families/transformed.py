"""Families on sets that a normal is brought to, or projected on."""

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Distribution, biject_to

from ...codes import base_support, flattened, mapped, reach, support
from ...errors import DeclarationError
from ...randomness import seeded
from .head import FLOOR, Head, positive

__all__ = ["ProjectedNormal", "TransformedNormal"]

# Draws of the prior that tell where its numbers lie on the unconstrained line.
_PLACED = 10_000
# Deviations of those draws from their mean that a normal's mean may reach; and where a value at
# the very end of the support, which has no place on the line, is told.
_FAR, _END = 15.0, -60.0


class TransformedNormal(Head):
    """A normal over unconstrained numbers, brought to the prior's support by torch's bijection.

    On a half-line it is a log-normal: numbers near the end are told as finely, for their distance
    from it, as those far off. Of shares it is another choice beside :class:`Dirichlet`. Pyro's
    ``AutoNormal`` is made so (Kucukelbir et al. 2017, arXiv 1603.00788, section 2.3).

    Args:
        prior: a continuous prior on a half-line, of shares, or on another set that torch or Pyro
            knows a bijection to; or a vector of such.
        features: width of Q's last hidden layer.
        floor: least standard deviation of each unconstrained number, as a share of the one that
            the prior's draws have there.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        place = _placed(prior)
        known = place.isfinite()
        count = known.sum(0)
        centre = place.where(known, 0.0).sum(0) / count
        variance = (place - centre).square().where(known, 0.0).sum(0) / count
        super().__init__(features, tuple(centre.shape), 2)
        self.floor = floor
        self._reach, self._support = reach(prior), support(prior)
        self.register_buffer("centre", centre)
        self.register_buffer("scale", variance.sqrt())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TransformedNormal":
        super()._apply(fn, recurse)
        self._reach, self._support = mapped((self._reach, self._support), fn)
        return self

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_std = self.elements(features).unbind(-1)
        normal = dist.Normal(
            self.centre + self.scale * mean.clamp(-_FAR, _FAR),
            self.scale * (positive(log_std) + self.floor),
        )
        end = self.centre + _END * self.scale
        base = normal.to_event(len(self.vector))
        return _Transformed(base, biject_to(self._reach), self._support, end)


def _placed(prior: Distribution) -> Tensor:
    """Draws of a prior on the unconstrained line, (draws, numbers).

    Raises:
        DeclarationError: for a support that is not brought there, or has a family of its own.
    """
    base = reach(prior)
    try:
        # Others are the better known for these.
        if isinstance(base, constraints.interval | type(constraints.real)):
            raise NotImplementedError
        to_support: Any = biject_to(base)
        with torch.no_grad(), seeded(0):
            place = to_support.inv(prior.sample(torch.Size([_PLACED])))
            to_support.log_abs_det_jacobian(place, to_support(place))
        return place
    except NotImplementedError:
        raise DeclarationError(
            "families.TransformedNormal",
            got=f"a prior with support {base_support(prior)}",
            expected="a half-line, shares, or another set that torch has a bijection to",
            fix="Use families.LogitNormal for an interval, families.Normal for the real line.",
        ) from None


class _Transformed(dist.TransformedDistribution):
    """A normal brought to a support, with a finite density at the very end of it.

    Args:
        base: the normal, with no batch dimensions but those of the result.
        to_support: the bijection.
        whole: the prior's support, with its end.
        end: where on the line a value at the end is told.
    """

    def __init__(
        self, base: Distribution, to_support: Any, whole: constraints.Constraint, end: Tensor
    ) -> None:
        super().__init__(base, [to_support])
        self.to_support, self.whole, self.end = to_support, whole, end

    @property
    def support(self) -> constraints.Constraint:
        return self.whole

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Transformed":
        del _instance
        base = self.base_dist.expand(batch_shape)
        return _Transformed(base, self.to_support, self.whole, self.end)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        place = self.to_support.inv(value)
        outside = place.isnan()
        # Beyond any place that a value inside has: what the end gains has no weight.
        place = torch.where(place.isfinite(), place, self.end)
        volume = self.to_support.log_abs_det_jacobian(place, self.to_support(place))
        batch = place.dim() - len(self.base_dist.event_shape)
        density = self.base_dist.log_prob(place) - flattened(volume, batch).sum(-1)
        return density.masked_fill(flattened(outside, batch).any(-1), -torch.inf)


class ProjectedNormal(Head):
    """The direction of a normal of unit scale about some point, for codes that are directions.

    By Pyro's distribution (Hernandez-Stumpfhauser et al. 2017), in two, three or four dimensions.

    Args:
        prior: a prior on a sphere, such as ``dist.ProjectedNormal(torch.zeros(3))``, every
            direction alike; or a vector of such.
        features: width of Q's last hidden layer.
        floor: the point is no further off than 1/floor, where directions spread by about so many
            radians.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        base = base_support(prior)
        if not isinstance(base, type(constraints.sphere)) or prior.event_shape[-1] not in (2, 3, 4):
            raise DeclarationError(
                "families.ProjectedNormal",
                got=f"a prior with support {base} and event shape {tuple(prior.event_shape)}",
                expected="a direction in two, three or four dimensions",
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
        return dist.ProjectedNormal(point).to_event(len(self.vector))
