"""Families for codes that take countably many values."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn import functional as F

from ...codes import base_support, least_and_greatest
from ...errors import DeclarationError
from .ended import Ended
from .head import Head, UnitHead, positive

__all__ = ["Bernoulli", "Categorical", "DiscretizedLogistic", "OneHotCategorical"]

# Scale, in counts, at which all but 1 % of a rounded logistic is the count that it is about.
_NARROW = 0.1


def _check_support(family: str, prior: Distribution, kind: type, expected: str) -> None:
    support = base_support(prior)
    if not isinstance(support, kind):
        raise DeclarationError(
            f"families.{family}",
            got=f"a prior with support {support}",
            expected=expected,
            fix="Choose a family for this support.",
        )


class Categorical(Head):
    """Logits for each category; for a prior over 0, …, K − 1 and vectors of such."""

    def __init__(self, prior: Distribution, features: int) -> None:
        support = base_support(prior)
        if not isinstance(support, constraints.integer_interval) or support.lower_bound != 0:
            raise DeclarationError(
                "families.Categorical",
                got=f"a prior with support {support}",
                expected="categories 0, …, K − 1",
                fix="Choose a family for this support.",
            )
        super().__init__(features, prior.event_shape, int(support.upper_bound) + 1)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        return dist.Categorical(logits=self.elements(features)).to_event(len(self.vector))


class OneHotCategorical(Head):
    """Logits for each category of a one-hot prior and vectors of such."""

    def __init__(self, prior: Distribution, features: int) -> None:
        _check_support("OneHotCategorical", prior, type(constraints.one_hot), "a one-hot code")
        *vector, categories = prior.event_shape or (1,)
        super().__init__(features, tuple(vector), categories)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        return dist.OneHotCategorical(logits=self.elements(features)).to_event(len(self.vector))


class Bernoulli(Head):
    """One logit for each boolean."""

    def __init__(self, prior: Distribution, features: int) -> None:
        _check_support("Bernoulli", prior, type(constraints.boolean), "booleans")
        super().__init__(features, prior.event_shape, 1)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        logits = self.elements(features).squeeze(-1)
        return dist.Bernoulli(logits=logits).to_event(len(self.vector))


class DiscretizedLogistic(UnitHead):
    """A logistic distribution rounded to whole numbers, for counts, with or without an end.

    As narrow or wide as need be, where a Poisson's spread follows from its mean. Location and scale
    are in the prior's units. The first and last number have the tails (Salimans et al. 2017, arXiv
    1701.05517, equation 2, with one component).

    Args:
        prior: a prior of whole numbers, or a vector of such.
        features: width of Q's last hidden layer.
        ends: whether it keeps to those of the prior, or may tell any whole number.
    """

    low: Tensor
    high: Tensor

    def __init__(self, prior: Distribution, features: int, ends: bool = True) -> None:
        base = base_support(prior)
        whole = base.is_discrete and base.event_dim == 0
        if not whole or isinstance(base, type(constraints.boolean)):
            raise DeclarationError(
                "families.DiscretizedLogistic",
                got=f"a prior with support {base}",
                expected="whole numbers that vary one by one",
                fix="Choose a family for this support.",
            )
        super().__init__(prior, features, 2)
        low, high = least_and_greatest(prior)
        self.register_buffer("low", low.clone() if ends else torch.full_like(low, -math.inf))
        self.register_buffer("high", high.clone() if ends else torch.full_like(high, math.inf))

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_scale = self.elements(features).unbind(-1)
        posterior = DiscretizedLogisticDistribution(
            self.centre + self.scale * mean,
            self.scale * positive(log_scale) + _NARROW,
            self.low,
            self.high,
        )
        return posterior.to_event(len(self.vector))


class DiscretizedLogisticDistribution(Ended):
    """The whole number nearest to a draw of a logistic distribution, kept between two ends.

    Args:
        loc: mean of the logistic distribution.
        scale: its scale, above 0.
        low: the least number, which may be −∞.
        high: the greatest, which may be ∞.

    Example:
        >>> about_2 = DiscretizedLogisticDistribution(torch.tensor(2.0), torch.tensor(0.5), 0, 3)
        >>> [round(about_2.log_prob(torch.tensor(k)).exp().item(), 3) for k in (0.0, 1.0, 2.0, 3.0)]
        [0.047, 0.222, 0.462, 0.269]
    """

    @property
    def support(self) -> constraints.Constraint:
        """Whole numbers between the ends."""
        return constraints.integer_interval(self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        first, last = value <= self.low, value >= self.high
        # σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b)), each of which keeps its digits.
        below = F.logsigmoid((value + 0.5 - self.loc) / self.scale).masked_fill(last, 0.0)
        above = F.logsigmoid((self.loc - value + 0.5) / self.scale).masked_fill(first, 0.0)
        both = torch.log(-torch.expm1(-1 / self.scale)).expand(below.shape)
        inside = (value >= self.low) & (value <= self.high) & (value == value.round())
        return (below + above + both.masked_fill(first | last, 0.0)).masked_fill(~inside, -math.inf)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws, as floats."""
        shape = self._extended_shape(torch.Size(sample_shape))
        share = torch.rand(shape, device=self.loc.device, dtype=self.loc.dtype)
        logit = share.log() - torch.log1p(-share)
        drawn = (self.loc + self.scale * logit).round()
        # A share of 0 has no logit, and no lower end may be there to catch it.
        return drawn.where(drawn.isfinite(), self.loc.round()).clamp(self.low, self.high)
