"""Flows of the zuko library, an optional extra: ``pip install 'pyro-infogan[zuko]'``."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ...codes import keep_unit
from ...errors import DeclarationError

__all__ = ["Zuko"]


def _zuko() -> Any:
    """The library, imported without its side effect: it turns validation off for all of torch."""
    validated = Distribution._validate_args
    try:
        import zuko
    except ImportError:
        raise DeclarationError(
            "families.Zuko",
            got="no zuko here",
            expected="the optional library",
            fix="Install it: pip install 'pyro-infogan[zuko]'.",
        ) from None
    finally:
        Distribution.set_default_validate_args(validated)
    return zuko


class Zuko(nn.Module):
    """A conditional normalising flow over all numbers of a code, on the whole real line.

    For a code on an interval it leaks outside;
    :class:`~pyro_infogan.inference.families.Spline` does not.

    Args:
        prior: a continuous prior of one number, or a vector of such.
        features: width of Q's last hidden layer.
        flow: ``flow(numbers, features)`` builds one of ``zuko.flows``; by default its neural
            spline flow (Durkan et al. 2019) with three transforms.

    Raises:
        DeclarationError: where zuko is not installed.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        prior: Distribution,
        features: int,
        flow: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        build: Callable[[int, int], nn.Module] = flow or _zuko().flows.NSF
        self.vector = tuple(prior.event_shape)
        self.flow = build(math.prod(self.vector), features)
        keep_unit(self, prior)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        return _Flow(self.flow(features), self.vector, self.centre, self.scale)


class _Flow(TorchDistribution):
    """A distribution of zuko's over flat vectors, in a code's own shape and units."""

    def __init__(
        self, flow: Distribution, vector: Sequence[int], centre: Tensor, scale: Tensor
    ) -> None:
        self.flow, self.centre, self.scale = flow, centre, scale
        super().__init__(flow.batch_shape, torch.Size(vector), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: its parameters are a network's."""
        return {}

    @property
    def has_rsample(self) -> bool:
        return True

    @property
    def support(self) -> constraints.Constraint:
        """The whole real line, in each number."""
        vector = len(self.event_shape)
        return constraints.independent(constraints.real, vector) if vector else constraints.real

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "_Flow":
        """The same with a larger batch."""
        del _instance
        flow = self.flow.expand(torch.Size(batch_shape))
        return _Flow(flow, self.event_shape, self.centre, self.scale)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws (*sample_shape, n, *event shape)."""
        flat = self.flow.rsample(torch.Size(sample_shape))
        return self.centre + self.scale * flat.reshape(*flat.shape[:-1], *self.event_shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, (*, n)."""
        units = (value - self.centre) / self.scale
        batch = value.dim() - len(self.event_shape)
        flat = units.flatten(batch) if self.event_shape else units.unsqueeze(-1)
        volume = self.scale.expand(self.event_shape).log().sum()
        return self.flow.log_prob(flat) - volume
