"""Families for codes that take countably many values."""

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Distribution, constraints

from ...codes import base_support
from ...errors import DeclarationError
from .head import Head

__all__ = ["Bernoulli", "Categorical", "OneHotCategorical"]


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
