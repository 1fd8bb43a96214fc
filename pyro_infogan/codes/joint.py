"""Distributions of codes that depend on each other, as families and figures see them."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints

from .element import base_support, bounds, flattened, has_ends, support
from .encoding import unit

__all__ = ["Joint", "Marginal"]


class Marginal(TorchDistribution):
    """A dependent code by itself: the even mixture of its conditionals at draws of the others.

    It stands for p(c) where a program only gives p(c | earlier codes): posterior families and
    encodings take their support and scale from it. Scores never come from it.

    Args:
        conditionals: batch shape (draws of the earlier codes, *elements of a vector code).
    """

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: it is given whole."""
        return {}

    def __init__(self, conditionals: Any) -> None:
        self.conditionals = conditionals
        shape = conditionals.batch_shape[1:]
        super().__init__(shape, conditionals.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{type(self.conditionals).__name__} that depends on other codes"

    @property
    def has_enumerate_support(self) -> bool:
        """As the conditionals, which share their categories."""
        return self.conditionals.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The categories, (K, *batch shape, *event shape)."""
        try:
            return self.conditionals.enumerate_support(expand)[:, 0]
        except NotImplementedError:
            # Of counts that end at different numbers: all up to the greatest of them.
            low, high = (int(end.item()) for end in bounds(base_support(self)))
            values = torch.arange(low, high + 1.0, device=self.conditionals.mean.device)
            values = values.reshape(-1, *[1] * len(self.batch_shape))
            return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def support(self) -> constraints.Constraint:
        """The conditionals' support; where its ends differ, one that holds them all."""
        return self._support

    @cached_property
    def _support(self) -> constraints.Constraint:
        # Found once: to read its ends off a GPU takes time, and off a graph cannot be done.
        base = base_support(self.conditionals)
        ends: dict[str, Any] = {}
        for name, widest in (("lower_bound", torch.amin), ("upper_bound", torch.amax)):
            if name in vars(base):
                end = torch.as_tensor(vars(base)[name])
                end = widest(end, 0) if end.dim() else end
                ends[name] = end if end.dim() else end.item()
        if ends:
            base = type(base)(**ends)
        wrapped = support(self.conditionals).event_dim - base.event_dim
        return constraints.independent(base, wrapped) if wrapped else base

    @property
    def mean(self) -> Tensor:
        """Of the mixture."""
        return self.conditionals.mean.mean(0)

    @property
    def variance(self) -> Tensor:
        """Of the mixture: within the conditionals, and between their means."""
        return self.conditionals.variance.mean(0) + self.conditionals.mean.var(0, correction=0)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws, of shape (*sample_shape, *batch shape, *event shape)."""
        n, several = math.prod(sample_shape), self.conditionals.batch_shape[0]
        # As often of each as need be, and so many of all: none is drawn for nothing.
        draws = self.conditionals.sample(torch.Size([math.ceil(n / several)])).flatten(0, 1)
        chosen = draws[torch.randperm(len(draws), device=draws.device)[:n]]
        return chosen.reshape(*sample_shape, *chosen.shape[1:])

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the mixture, in nats."""
        shape = self.batch_shape + self.event_shape
        axis = value.dim() - len(shape)
        scores = self.conditionals.log_prob(value.unsqueeze(axis))
        return scores.logsumexp(axis) - torch.tensor(float(scores.shape[axis])).log()


class Joint(TorchDistribution):
    """Several codes as one vector: their numbers side by side, as a joint posterior sees them.

    Args:
        parts: a distribution for each code by itself.
        draw: gives n draws of all of them together, one tensor (n, event shape) a code.
    """

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: it is given whole."""
        return {}

    def __init__(
        self, parts: Sequence[Distribution], draw: Callable[[int], Sequence[Tensor]]
    ) -> None:
        self.parts, self.draw = tuple(parts), draw
        width = sum(math.prod(part.event_shape) for part in parts)
        super().__init__(torch.Size(), torch.Size([width]), validate_args=False)

    def _side_by_side(self, values: Sequence[Tensor]) -> Tensor:
        """One value a part, expanded to its event shape, as one vector."""
        whole = [
            value.expand(part.event_shape).reshape(-1)
            for value, part in zip(values, self.parts, strict=True)
        ]
        return torch.cat(whole)

    @property
    def support(self) -> constraints.Constraint:
        """A box where every part has ends, which may be infinite on one side; else all of space."""
        if not all(map(has_ends, self.parts)):
            return constraints.real_vector
        ends = [bounds(base_support(part)) for part in self.parts]
        low, high = (self._side_by_side(each) for each in zip(*ends, strict=True))
        return constraints.independent(constraints.interval(low, high), 1)

    @property
    def mean(self) -> Tensor:
        """The parts' centres in :func:`unit`'s sense."""
        return self._side_by_side([unit(part)[0] for part in self.parts])

    @property
    def stddev(self) -> Tensor:
        """The parts' scales in :func:`unit`'s sense."""
        return self._side_by_side([unit(part)[1] for part in self.parts])

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws of shape (*sample_shape, width)."""
        draws = self.draw(torch.Size(sample_shape).numel())
        flat = torch.cat([flattened(value, 1).float() for value in draws], -1)
        return flat.reshape(*sample_shape, -1)
