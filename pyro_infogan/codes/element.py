"""What follows from one code's prior: its support, its kind, its score."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution, Transform
from torch.distributions.constraints import MixtureSameFamilyConstraint

from ..errors import DeclarationError

__all__ = [
    "ENDED",
    "base_support",
    "bounds",
    "element_of",
    "ends_of",
    "flattened",
    "form_of",
    "half_line",
    "has_ends",
    "is_angle",
    "is_direction",
    "is_share",
    "least_and_greatest",
    "lies_on",
    "log_prob",
    "mapped",
    "placed",
    "reach",
    "sample",
    "support",
    "traced",
]


_HELD = "__CF"


def support(prior: Distribution) -> constraints.Constraint:
    """Where a prior may put its draws; a mixture of continuous ones, where its components may.

    Raises:
        DeclarationError: for a distribution that does not say.
    """
    if prior.support is None:
        raise DeclarationError(
            "a code prior",
            got=f"{type(prior).__name__}, which has no support",
            expected="a distribution that says where its draws lie",
            fix="Give your distribution a support.",
        )
    return _unmixed(prior.support)


def _unmixed(constraint: Any) -> constraints.Constraint:
    """A constraint without the wrapping of mixtures, where it is the same for all components."""
    if isinstance(constraint, constraints.independent):
        base, axes = constraint.base_constraint, constraint.reinterpreted_batch_ndims
        return constraints.independent(_unmixed(base), axes)
    if not isinstance(constraint, MixtureSameFamilyConstraint):
        return constraint
    base: Any = constraint.base_constraint
    own = any(isinstance(part, Tensor) and part.dim() for part in vars(base).values())
    return constraint if own or base.is_discrete else base


def base_support(prior: Distribution) -> constraints.Constraint:
    """The support of one element of ``prior``, without the wrapping of vectors."""
    base = support(prior)
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    return base


def bounds(interval: constraints.Constraint) -> tuple[Tensor, Tensor]:
    """Lower and upper end of an interval, infinite where a half-line has none.

    Example:
        >>> low, high = bounds(dist.Exponential(1.0).support)
        >>> low.item(), high.item()
        (0.0, inf)
    """
    ends = ("lower_bound", -math.inf), ("upper_bound", math.inf)
    low, high = (torch.as_tensor(getattr(interval, name, none)) for name, none in ends)
    return low, high


ENDED = (
    constraints.interval,
    constraints.half_open_interval,
    constraints.greater_than,
    constraints.greater_than_eq,
    constraints.less_than,
)
"""Parts of a line that end somewhere."""


def has_ends(distribution: Distribution) -> bool:
    """Whether the numbers of a distribution lie on a part of the line: an interval or a half-line.

    Example:
        >>> has_ends(dist.Uniform(0.0, 1.0)), has_ends(dist.Gamma(2.0, 1.0))
        (True, True)
        >>> has_ends(dist.Normal(0.0, 1.0)), has_ends(dist.Poisson(3.0))
        (False, False)
    """
    return isinstance(base_support(distribution), ENDED)


def ends_of(distribution: Distribution) -> list[Tensor]:
    """Those of what a distribution's numbers may be, one of them infinite at most; else none."""
    ends = bounds(base_support(distribution))
    return list(ends) if any(end.isfinite().any() for end in ends) else []


def reach(prior: Distribution) -> constraints.Constraint:
    """The support of one element of a prior, as ``torch.distributions.biject_to`` knows it."""
    base = base_support(prior)
    if isinstance(base, constraints.interval):
        low, high = bounds(base)
        # Some call a half-line an interval whose end is infinite.
        return constraints.greater_than(low) if high.isinf().all() else base
    return base


def least_and_greatest(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Ends of a prior's support for each of its numbers, infinite where there are none.

    A mixture ends where its components do; its support has what all of them can be.

    Returns:
        Two tensors of the prior's event shape.

    Example:
        >>> low, high = least_and_greatest(dist.Poisson(3.0))
        >>> low.item(), high.item()
        (0.0, inf)
    """
    base: Any = base_support(prior)
    components = []
    while isinstance(base, MixtureSameFamilyConstraint | constraints.independent):
        if isinstance(base, MixtureSameFamilyConstraint):
            components.append(-1 - base.event_dim)
        base = base.base_constraint
    if isinstance(base, type(constraints.boolean) | type(constraints.simplex)):
        low, high = torch.tensor(0.0), torch.tensor(1.0)
    elif isinstance(base, type(constraints.sphere)):
        low, high = torch.tensor(-1.0), torch.tensor(1.0)
    else:
        low, high = (end.float() for end in bounds(base))
    for axis in reversed(components):
        low = low.amax(axis) if low.dim() else low
        high = high.amin(axis) if high.dim() else high
    return low.expand(prior.event_shape), high.expand(prior.event_shape)


def half_line(prior: Distribution) -> tuple[Tensor, Tensor] | None:
    """Where each number's half-line ends, and 1 where it goes up from there, −1 where down.

    None of a prior that lies on none.

    Example:
        >>> end, way = half_line(dist.Pareto(2.0, 3.0))
        >>> end.item(), way.item()
        (2.0, 1.0)
        >>> half_line(dist.Uniform(0.0, 1.0)) is None
        True
    """
    low, high = least_and_greatest(prior)
    if not has_ends(prior) or not (low.isfinite() ^ high.isfinite()).all():
        return None
    return low.where(low.isfinite(), high), torch.where(low.isfinite(), 1.0, -1.0)


def sample(site: str, distribution: Distribution) -> Tensor:
    """``pyro.sample``, typed for any Pyro distribution."""
    return pyro.sample(site, cast(Any, distribution))


def traced(program: Callable, *args: Any) -> dict[str, dict[str, Any]]:
    """Sample sites of one run of a program by name, and those of parameters, but no plates.

    A site that ``poutine.do`` holds has the held value.
    """
    nodes = cast(Mapping[str, Any], poutine.trace(program).get_trace(*args).nodes)
    sites = {
        name: site
        for name, site in nodes.items()
        if site["type"] in ("sample", "param") and not site_is_subsample(site)
    }
    # ``do`` splits a site: its draw keeps the name, and the value that the program goes on with is
    # under a mangled one.
    for name in [name for name in sites if name.endswith(_HELD)]:
        sites[name.removesuffix(_HELD)] = sites.pop(name)
    return sites


def element_of(prior: Any) -> Any:
    """The distribution of a vector code's elements, all of them in its batch; or the prior."""
    while isinstance(prior, dist.Independent):
        prior = prior.base_dist
    return prior


def form_of(prior: Any) -> Any:
    """The distribution whose type says what kind of code this is.

    Vectors are unwrapped, and so are the marginals of codes that depend on others.
    """
    element = element_of(prior)
    return getattr(element, "conditionals", element)


def is_angle(prior: Distribution) -> bool:
    """Whether a code goes round a circle; torch calls the support of an angle the real line."""
    return isinstance(form_of(prior), dist.VonMises)


def is_share(prior: Distribution) -> bool:
    """Whether the numbers of a code are shares, 0 or more and of sum 1: none of them moves alone.

    Example:
        >>> is_share(dist.Dirichlet(torch.ones(3))), is_share(dist.Beta(1.0, 1.0))
        (True, False)
    """
    return isinstance(base_support(prior), type(constraints.simplex))


# Draws of these have fewer dimensions than numbers, and their densities another measure than those
# over all numbers.
_THIN = tuple(
    type(each)
    for each in (
        constraints.simplex,
        constraints.sphere,
        constraints.corr_cholesky,
        constraints.corr_matrix,
        constraints.lower_triangular,
        constraints.lower_cholesky,
        constraints.softplus_lower_cholesky,
        constraints.unit_lower_cholesky,
        constraints.symmetric,
        constraints.positive_semidefinite,
        constraints.positive_definite,
    )
)


def lies_on(prior: Distribution) -> type[constraints.Constraint] | None:
    """The kind of set with fewer dimensions than numbers that a prior draws from, if it is such.

    The numbers of shares, of a point of a sphere or of a correlation matrix hold each other.

    Example:
        >>> lies_on(dist.Dirichlet(torch.ones(3))) is type(constraints.simplex)
        True
        >>> lies_on(dist.Normal(torch.zeros(3), 1.0).to_event(1)) is None
        True
    """
    kind = type(base_support(prior))
    return kind if kind in _THIN else None


def is_direction(prior: Distribution) -> bool:
    """Whether the numbers of a code are a point at distance 1 from the origin.

    Example:
        >>> is_direction(dist.ProjectedNormal(torch.zeros(3)))
        True
    """
    return isinstance(base_support(prior), type(constraints.sphere))


def placed(prior: Distribution, codes: Tensor, element: int, to: Tensor) -> Tensor:
    """Values of a code after one of its numbers was moved, the others held.

    The other shares of a simplex, and the other coordinates of a direction, give way in proportion,
    equally where all are 0: the sum, or the length, stays 1.

    Args:
        prior: the code's.
        codes: its values, (n, event shape).
        element: which of its numbers moves.
        to: where it moves to, (n,).

    Returns:
        Values (n, event shape).

    Example:
        >>> mix = torch.tensor([[0.2, 0.2, 0.6]])
        >>> placed(dist.Dirichlet(torch.ones(3)), mix, 1, torch.tensor([0.6]))
        tensor([[0.1000, 0.6000, 0.3000]])
        >>> way = torch.tensor([[0.0, 0.0, 1.0]])
        >>> placed(dist.ProjectedNormal(torch.zeros(3)), way, 0, torch.tensor([0.6]))
        tensor([[0.6000, 0.0000, 0.8000]])
    """
    moved = codes.reshape(len(codes), -1).clone()
    # Shares sum to 1 as they are, coordinates in their squares.
    power = 1 if is_share(prior) else 2 if is_direction(prior) else None
    if power:
        first = element - element % prior.event_shape[-1]
        others = [each for each in range(first, first + prior.event_shape[-1]) if each != element]
        held = moved[:, others]
        size = held.norm(power, 1, keepdim=True)
        even = max(len(others), 1) ** (-1 / power)
        left = (1 - to**power).clamp(min=0) ** (1 / power)
        moved[:, others] = left.unsqueeze(1) * torch.where(size > 0, held / size, even)
    moved[:, element] = to
    return moved.reshape(codes.shape)


def mapped(value: Any, fn: Callable[[Tensor], Tensor], seen: dict[int, Any] | None = None) -> Any:
    """``value`` with ``fn`` applied to every tensor inside a distribution.

    Distributions have no ``to``: this is what lets a prior follow its module to another device.
    """
    # A transform and its inverse hold each other.
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, Distribution | Transform | constraints.Constraint):
        moved = seen[id(value)] = copy.copy(value)
        vars(moved).update({name: mapped(item, fn, seen) for name, item in vars(value).items()})
        if vars(moved).get("_validate_args"):
            # expand() keeps the setting of its time; a copy goes by the one of its use.
            del vars(moved)["_validate_args"]
        return moved
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(mapped(item, fn, seen) for item in value)
    return value


@singledispatch
def log_prob(prior: Distribution, value: Tensor) -> Tensor:
    """Log p(c) in nats, (*), of draws (*, event shape)."""
    if prior.has_enumerate_support or not support(prior).is_discrete:
        return prior.log_prob(value)
    # Of large counts it is a difference of numbers that float32 has too few digits for.
    return mapped(prior, _doubled).log_prob(value.double()).to(value.dtype)


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


@log_prob.register(dist.Uniform)
def _(prior: Any, value: Tensor) -> Tensor:
    # Rounding can make a draw of U(1000, 1001) its upper end, where torch calls the density 0.
    below = torch.nextafter(prior.high, prior.low)
    return prior.log_prob(torch.where(value == prior.high, below, value))


@log_prob.register(dist.Independent)
def _(prior: Any, value: Tensor) -> Tensor:
    axes = prior.reinterpreted_batch_ndims
    scores = log_prob(prior.base_dist, value)
    return scores.flatten(-axes).sum(-1) if axes else scores


def flattened(value: Tensor, batch: int) -> Tensor:
    """``value`` with one axis after its first ``batch``."""
    return value.flatten(batch) if value.dim() > batch else value.unsqueeze(-1)
