"""Posterior families: what Q(c | x) may look like, one code at a time.

A family is anything that, called with a code's prior and the number of features, gives a module
from features (n, features) to a Pyro distribution with batch shape (n,) and the prior's event
shape. The classes below are families; so is ``functools.partial(families.Normal, floor=0.2)``, and
so is a function or class of your own::

    InfoGAN(codes, image_shape, posterior={"slant": my_family})

:func:`default` picks the family of a code whose posterior nobody chose, by the prior's support.
"""

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..codes import base_support, unit
from ..errors import DeclarationError

__all__ = [
    "Bernoulli",
    "Categorical",
    "Family",
    "Normal",
    "OneHotCategorical",
    "VonMises",
    "default",
]

Family = Callable[[Distribution, int], nn.Module]
"""``family(prior, features)`` makes the posterior's last layers."""

# exp() overflows float32 at 88, and no code needs e^10 times the scale of its prior.
_MAX_LOG_SCALE = 10.0


class _Head(nn.Module):
    """A linear layer, its output read as ``size`` numbers for each element of a vector code."""

    def __init__(self, features: int, vector: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.vector = tuple(vector)
        self.linear = nn.Linear(features, math.prod(self.vector) * size)

    def elements(self, features: Tensor) -> Tensor:
        """Shape (n, *vector, size)."""
        return self.linear(features).unflatten(-1, (*self.vector, -1))


class Categorical(_Head):
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


class OneHotCategorical(_Head):
    """Logits for each category of a one-hot prior and vectors of such."""

    def __init__(self, prior: Distribution, features: int) -> None:
        *vector, categories = prior.event_shape or (1,)
        super().__init__(features, tuple(vector), categories)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        return dist.OneHotCategorical(logits=self.elements(features)).to_event(len(self.vector))


class Bernoulli(_Head):
    """One logit for each boolean."""

    def __init__(self, prior: Distribution, features: int) -> None:
        super().__init__(features, prior.event_shape, 1)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        logits = self.elements(features).squeeze(-1)
        return dist.Bernoulli(logits=logits).to_event(len(self.vector))


class Normal(_Head):
    """The paper's factored Gaussian: mean μ and standard deviation exp(s) + floor, both learned.

    Both are in the prior's own units (:func:`~pyro_infogan.codes.unit`), so that a code on (0, 360)
    starts where a code on (−1, 1) does.

    Args:
        prior: a real or interval prior, or a vector of such.
        features: width of Q's last hidden layer.
        floor: least standard deviation, as a share of the prior's scale. Without one the density
            at the right answer, and with it L_I of a continuous code, has no upper bound.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, prior: Distribution, features: int, floor: float = 0.1) -> None:
        super().__init__(features, prior.event_shape, 2)
        self.floor = floor
        centre, scale = unit(prior)
        self.register_buffer("centre", centre.clone(), persistent=False)
        self.register_buffer("scale", scale.clone(), persistent=False)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_std = self.elements(features).unbind(-1)
        std = log_std.clamp(max=_MAX_LOG_SCALE).exp() + self.floor
        posterior = dist.Normal(self.centre + self.scale * mean, self.scale * std)
        return posterior.to_event(len(self.vector))


class VonMises(_Head):
    """Location and concentration κ of an angle, from the two numbers κ (cos, sin).

    κ is kept within (0.001, 10,000]: at infinity von Mises sampling would never end.
    """

    def __init__(self, prior: Distribution, features: int) -> None:
        super().__init__(features, prior.event_shape, 2)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        cosine, sine = self.elements(features).unbind(-1)
        # At the origin neither the angle nor the length has a gradient.
        cosine = cosine + 1e-6
        concentration = torch.hypot(cosine, sine).clamp(1e-3, 1e4)
        posterior = dist.VonMises(torch.atan2(sine, cosine), concentration)
        return posterior.to_event(len(self.vector))


@singledispatch
def _for_support(support: constraints.Constraint) -> Family:
    raise DeclarationError(
        "the default posterior",
        got=f"support {support}",
        expected="categories, one-hot, boolean, an interval or the real line",
        fix="Choose a family for the code: InfoGAN(..., posterior={name: family}).",
    )


_for_support.register(constraints.integer_interval, lambda support: Categorical)
_for_support.register(type(constraints.one_hot), lambda support: OneHotCategorical)
_for_support.register(type(constraints.boolean), lambda support: Bernoulli)
_for_support.register(type(constraints.real), lambda support: Normal)
_for_support.register(constraints.interval, lambda support: Normal)


@singledispatch
def default(prior: Distribution) -> Family:
    """The family that fits the support of a prior.

    Raises:
        DeclarationError: for a support that no family here covers.

    Example:
        >>> import torch
        >>> default(dist.Uniform(-1.0, 1.0)).__name__
        'Normal'
        >>> default(dist.Categorical(torch.ones(10))).__name__
        'Categorical'
    """
    return _for_support(base_support(prior))


@default.register(dist.Independent)
def _(prior: Any) -> Family:
    return default(prior.base_dist)


# torch calls the support of an angle the real line.
default.register(dist.VonMises, lambda prior: VonMises)
