"""Posterior families: what Q(c | x) may look like, one code at a time.

A family is anything that, called with a code's prior and the number of features, gives a module
from features (n, features) to a Pyro distribution with batch shape (n,) and the prior's event
shape. The classes here are families; so is ``functools.partial(families.Normal, floor=0.2)``, and
so is a function or class of your own::

    InfoGAN(codes, image_shape, posterior={"slant": my_family})

:func:`default` picks the family of a code whose posterior nobody chose, by the prior's support.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

from pyro.distributions import constraints
from torch import nn
from torch.distributions import Distribution

from ...codes import has_heavy_tails, is_angle, reach
from ...errors import DeclarationError
from .bounded import (
    Beta,
    Dirichlet,
    LogitNormal,
    LogNormal,
    Spline,
    TruncatedNormal,
)
from .directions import ProjectedNormal, VonMises
from .discrete import Bernoulli, Categorical, DiscretizedLogistic, OneHotCategorical
from .flows import Zuko
from .head import Head
from .real import FixedNormal, Laplace, MixtureOfNormals, MultivariateNormal, Normal, StudentT

__all__ = [
    "Bernoulli",
    "Beta",
    "Categorical",
    "Dirichlet",
    "DiscretizedLogistic",
    "Family",
    "FixedNormal",
    "Head",
    "Laplace",
    "LogNormal",
    "LogitNormal",
    "MixtureOfNormals",
    "MultivariateNormal",
    "Normal",
    "OneHotCategorical",
    "ProjectedNormal",
    "Spline",
    "StudentT",
    "TruncatedNormal",
    "VonMises",
    "Zuko",
    "default",
]

Family = Callable[[Distribution, int], nn.Module]
"""``family(prior, features)`` makes the posterior's last layers."""


@singledispatch
def _for_support(support: Any) -> Family:
    raise DeclarationError(
        "the default posterior",
        got=f"support {support}",
        expected="categories, one-hot, boolean, whole numbers, the real line or a part of it, an "
        "angle, shares or a direction",
        fix="Choose a family for the code: InfoGAN(..., posterior={name: family}).",
    )


_for_support.register(constraints.integer_interval, lambda support: Categorical)
_for_support.register(type(constraints.nonnegative_integer), lambda support: DiscretizedLogistic)
_for_support.register(type(constraints.integer), lambda support: DiscretizedLogistic)
_for_support.register(type(constraints.one_hot), lambda support: OneHotCategorical)
_for_support.register(type(constraints.boolean), lambda support: Bernoulli)
_for_support.register(type(constraints.real), lambda support: Normal)
_for_support.register(constraints.interval, lambda support: Normal)
_for_support.register(constraints.half_open_interval, lambda support: Normal)
_for_support.register(constraints.greater_than, lambda support: TruncatedNormal)
_for_support.register(constraints.greater_than_eq, lambda support: TruncatedNormal)
_for_support.register(constraints.less_than, lambda support: TruncatedNormal)
_for_support.register(type(constraints.simplex), lambda support: Dirichlet)
_for_support.register(type(constraints.sphere), lambda support: ProjectedNormal)


@_for_support.register(constraints.MixtureSameFamilyConstraint)
def _(support: Any) -> Family:
    # Of counts without end. The categories of a mixture have no order to be told by.
    base: Any = support.base_constraint
    if isinstance(base, type(constraints.nonnegative_integer)):
        return DiscretizedLogistic
    return _for_support.dispatch(object)(support)


def default(prior: Distribution) -> Family:
    """The family that fits the support of a prior.

    Raises:
        DeclarationError: for a support that no family here covers.

    Example:
        >>> import pyro.distributions as dist
        >>> import torch
        >>> default(dist.Uniform(-1.0, 1.0)).__name__
        'Normal'
        >>> default(dist.Exponential(1.0)).__name__
        'TruncatedNormal'
        >>> default(dist.Categorical(torch.ones(10))).__name__
        'Categorical'
    """
    if is_angle(prior):
        return VonMises
    family = _for_support(reach(prior))
    # Of tails as heavy a normal's log density may have no mean.
    return LogNormal if family is TruncatedNormal and has_heavy_tails(prior) else family
