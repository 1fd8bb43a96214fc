"""What families are made of: one linear layer, read element by element in the prior's own units."""

import math

from torch import Tensor, nn
from torch.distributions import Distribution

from ...codes import keep_unit

__all__ = ["FLOOR", "Head", "UnitHead"]

FLOOR = 0.1
"""Least standard deviation of continuous posteriors, as a share of the prior's scale."""

# exp() overflows float32 at 88, and no code needs e^10 times the scale of its prior.
_MAX_LOG = 10.0


def positive(raw: Tensor) -> Tensor:
    """A positive number from any, without overflow."""
    return raw.clamp(max=_MAX_LOG).exp()


class Head(nn.Module):
    """A linear layer, its output read as ``size`` numbers for each element of a vector code."""

    def __init__(self, features: int, vector: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.vector = tuple(vector)
        self.linear = nn.Linear(features, math.prod(self.vector) * size)

    def elements(self, features: Tensor) -> Tensor:
        """Shape (n, *vector, size)."""
        return self.linear(features).unflatten(-1, (*self.vector, -1))


class UnitHead(Head):
    """A head for a continuous prior, in units that :func:`~pyro_infogan.codes.unit` gives.

    A code on (0, 360) starts where a code on (−1, 1) does.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, prior: Distribution, features: int, size: int) -> None:
        super().__init__(features, prior.event_shape, size)
        keep_unit(self, prior)
