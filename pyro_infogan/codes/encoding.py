"""What the networks read of a code, and in which units they tell it."""

import math
from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any, cast

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from torch import Tensor, nn
from torch.distributions import Distribution

from ..randomness import seeded
from .element import (
    ENDED,
    base_support,
    bounds,
    element_of,
    flattened,
    form_of,
    half_line,
    is_angle,
)

__all__ = ["Encoding", "Units", "encode", "has_heavy_tails", "keep_unit", "log_units", "unit"]

Units = tuple[Tensor, Tensor]
"""Centre and scale of a code, which broadcast to its event shape."""

# Draws that tell where the middle of a distribution is; and how many times its spread a standard
# deviation may be before it tells of the tails.
_MIDDLE = 10_000
_HEAVY = 10.0
# Deviations of a logarithm beyond which no more is read of it.
_FURTHEST = 4.0
_TINY = torch.finfo(torch.float32).tiny


@singledispatch
def _unit(base: constraints.Constraint, prior: Any) -> Units:
    """Mean and standard deviation, where there are any."""
    del base
    centre, scale, known = _moments(prior)
    return centre.where(known, centre.new_tensor(0.0)), scale.where(known, scale.new_tensor(1.0))


def _moments(prior: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation, and whether they are known."""
    try:
        centre, scale = prior.mean, prior.stddev
    except NotImplementedError:
        return torch.tensor(0.0), torch.tensor(1.0), torch.tensor(False)
    return centre, scale, centre.isfinite() & scale.isfinite() & (scale > 0)


def _middle(prior: Any) -> Units:
    """Median of some draws, and half of what lies between their 16th and 84th percentiles.

    Of a normal they are mean and standard deviation.
    """
    draws = _draws(prior).sort(0).values
    low, median, high = (draws[round(share * (_MIDDLE - 1))] for share in (0.1587, 0.5, 0.8413))
    spread = (high - low) / 2
    return median, spread.where(spread > 0, spread.new_tensor(1.0))


def _draws(prior: Any) -> Tensor:
    with torch.no_grad(), seeded(0):
        return prior.sample(torch.Size([_MIDDLE]))


def _of_a_line(base: constraints.Constraint, prior: Any) -> Units:
    """Mean and standard deviation; where they are not known, what they are of a normal's middle.

    And on half-lines where heavy tails make them. About a point of the real line they may be made
    by a part that matters, as by the slab about a spike.
    """
    centre, scale, known = _moments(prior)
    if known.all() and not isinstance(base, ENDED):
        return centre, scale
    median, spread = _middle(prior)
    if isinstance(base, ENDED):
        known = known & (scale <= _HEAVY * spread)
    # Left in their own shape where they are good: one number may be that of all elements.
    if known.all():
        return centre, scale
    return centre.where(known, median), scale.where(known, spread)


for _endless in (type(constraints.real), *ENDED):
    _unit.register(_endless, _of_a_line)


@_unit.register(constraints.interval)
def _(base: Any, prior: Any) -> Units:
    low, high = bounds(base)
    # Some call a half-line an interval whose end is infinite.
    ended = low.isfinite().all() and high.isfinite().all()
    return ((low + high) / 2, (high - low) / 2) if ended else _of_a_line(base, prior)


@_unit.register(type(constraints.sphere))
def _(base: Any, prior: Any) -> Units:
    del base
    return torch.zeros(prior.event_shape), torch.ones(prior.event_shape)


def has_heavy_tails(prior: Distribution) -> bool:
    """Whether a few far draws make the standard deviation of any of its numbers, or it has none.

    Example:
        >>> has_heavy_tails(dist.HalfCauchy(1.0)), has_heavy_tails(dist.LogNormal(0.0, 3.0))
        (True, True)
        >>> has_heavy_tails(dist.Exponential(1.0)), has_heavy_tails(dist.LogNormal(0.0, 1.0))
        (False, False)
    """
    try:
        scale = prior.stddev
    except NotImplementedError:
        scale = _draws(prior).std(0)
    # One that is no number compares as neither, and is heavy.
    return not (scale <= _HEAVY * _middle(prior)[1]).all()


def unit(prior: Distribution) -> Units:
    """Centre and scale that bring a prior of numbers to the networks' range.

    An interval is brought to [−1, 1], an angle likewise from half a turn either way, any other
    support to mean 0 and standard deviation 1. On the real line, where those are not known, and on
    half-lines, where heavy tails make them, median and percentiles 16 and 84 are brought to those
    of a standard normal. The paper's U(−1, 1) and a standard normal stay as they are.

    Returns:
        Two tensors that broadcast to the prior's event shape.

    Example:
        >>> centre, scale = unit(dist.Uniform(0.0, 360.0))
        >>> centre.item(), scale.item()
        (180.0, 180.0)
    """
    if is_angle(prior):
        element = element_of(prior)
        centre = getattr(element, "loc", torch.zeros(element.batch_shape))
        return centre, torch.full_like(centre, math.pi)
    return _unit(base_support(prior), prior)


def keep_unit(module: nn.Module, prior: Distribution) -> None:
    """Give a module the prior's centre and scale, which follow it across devices and into files.

    They stay those of the declaration, whatever the prior learns, and wherever the run is resumed.
    """
    for name, value in zip(("centre", "scale"), unit(prior), strict=True):
        module.register_buffer(name, value.clone())


class Encoding(nn.Module):
    """What the generator reads of a code.

    Categories become one-hot, angles cosine and sine; booleans and one-hot codes stay as they are;
    other numbers are brought to the networks' range by :func:`unit`. Of heavy tails a few draws
    would drown all others in a batch: on a half-line the logarithm of the distance from its end is
    read, and on a real line whose moments are not known the inverse hyperbolic sine, which is a
    logarithm far out.

    Args:
        prior: the code's prior.

    Attributes:
        centre, scale: the code's units.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, prior: Distribution) -> None:
        super().__init__()
        keep_unit(self, prior)
        self.axes = len(prior.event_shape)
        self._read = _reading(form_of(prior), prior)
        if self._read is _logarithm:
            names = ("end", "way", "log_centre", "log_scale")
            for name, buffer in zip(names, log_units(prior), strict=True):
                self.register_buffer(name, buffer)

    def forward(self, value: Tensor) -> Tensor:
        """Floats (*, width) of values (*, event shape)."""
        return flattened(self._read(self, value).float(), value.dim() - self.axes)


_Reading = Callable[[Any, Tensor], Tensor]


@singledispatch
def _reading(form: Any, prior: Distribution) -> _Reading:
    """How a code of this form is read: a function of its encoding and values."""
    del form
    base = base_support(prior)
    if isinstance(base, type(constraints.boolean) | type(constraints.one_hot)):
        return _as_it_is
    if half_line(prior) and has_heavy_tails(prior):
        return _logarithm
    unknown = isinstance(base, type(constraints.real)) and not _moments(prior)[2].all()
    return _hyperbolic if unknown and has_heavy_tails(prior) else _in_units


@_reading.register(dist.Categorical)
def _(form: Any, prior: Distribution) -> _Reading:
    del prior
    return partial(_one_hot, int(form.support.upper_bound) + 1)


@_reading.register(dist.VonMises)
def _(form: Any, prior: Distribution) -> _Reading:
    del form, prior
    return _around


def _one_hot(categories: int, encoding: Encoding, value: Tensor) -> Tensor:
    del encoding
    return F.one_hot(value.long(), categories)


def _around(encoding: Encoding, value: Tensor) -> Tensor:
    del encoding
    return torch.stack([value.cos(), value.sin()], -1)


def _as_it_is(encoding: Encoding, value: Tensor) -> Tensor:
    del encoding
    return value


def _in_units(encoding: Encoding, value: Tensor) -> Tensor:
    return (value - encoding.centre) / encoding.scale


def _hyperbolic(encoding: Encoding, value: Tensor) -> Tensor:
    return _in_units(encoding, value).asinh()


def _logarithm(encoding: Any, value: Tensor) -> Tensor:
    read = _log_distance(value, encoding.end, encoding.way) - encoding.log_centre
    return (read / encoding.log_scale).clamp(-_FURTHEST, _FURTHEST)


def _log_distance(value: Tensor, end: Tensor, way: Tensor) -> Tensor:
    return ((value - end) * way).clamp(min=_TINY).log()


def log_units(prior: Distribution) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where a half-line ends, its way, and mean and deviation of the logarithm of the distance.

    Args:
        prior: a prior that :func:`~pyro_infogan.codes.half_line` knows.

    Returns:
        Four tensors of the prior's event shape.
    """
    end, way = cast(tuple[Tensor, Tensor], half_line(prior))
    logs = _log_distance(_draws(prior), end, way)
    return end, way, logs.mean(0), logs.std(0)


def encode(prior: Distribution, value: Tensor) -> Tensor:
    """What the generator reads of values of a code, as :class:`Encoding` says.

    Args:
        prior: the code's prior, whose type decides.
        value: draws, of shape (*, event shape).

    Returns:
        Floats of shape (*, width).

    Example:
        >>> encode(dist.Categorical(torch.ones(3)), torch.tensor([2, 0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    return Encoding(prior)(value)
