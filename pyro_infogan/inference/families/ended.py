"""Distributions of a location and a scale, kept between two ends."""

from typing import Any, Self

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all

__all__ = ["Ended"]


class Ended(dist.TorchDistribution):
    """What distributions with a location, a scale and two ends have in common.

    Args:
        loc: the location, before any end.
        scale: the scale, above 0.
        low: the lower end, which may be −∞.
        high: the upper end, which may be ∞.
    """

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """What the parameters may be."""
        real = constraints.real
        return {"loc": real, "scale": constraints.positive, "low": real, "high": real}

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same, for more draws at once."""
        del _instance
        parts = (part.expand(batch_shape) for part in (self.loc, self.scale, self.low, self.high))
        return type(self)(*parts, validate_args=False)
