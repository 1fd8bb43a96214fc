"""Families inside a support with ends: intervals, half-lines, and the simplex."""

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.transforms.spline import ConditionedSpline
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, SigmoidTransform, constraints
from torch.nn import functional as F

from ...codes import (
    base_support,
    bounds,
    half_line,
    has_ends,
    least_and_greatest,
    log_units,
)
from ...errors import DeclarationError
from .ended import Ended
from .head import FLOOR, Head, UnitHead, positive

__all__ = [
    "Beta",
    "Dirichlet",
    "LogNormal",
    "LogitNormal",
    "Spline",
    "TruncatedNormal",
]

# Share of an interval that keeps densities finite at its edges; float32 resolves 6e-8.
_EDGE = 1e-6
# Greatest logit of a spline's bins.
_STEEP = 7.0
# Scales of the prior that a cut normal's mean and scale may reach.
_FAR = 30.0
# Standard deviations past its other end, and past its mean, where a normal has nothing left to cut.
_NOTHING = 100.0
# The least distance from the end of a half-line.
_TINY = torch.finfo(torch.float32).tiny
# Log-probability under which the normal's own quantile function is told by its logarithm.
_TAIL = -20.0
# Share of an end's size by which rounding may put a draw beyond it.
_ROUNDING = 1e-6


def _beyond(value: Tensor, low: Any, high: Any) -> Tensor:
    """Whether a value lies outside an interval, by more than rounding."""
    low, high = torch.as_tensor(low), torch.as_tensor(high)
    sizes = (end.abs().where(end.isfinite(), torch.zeros_like(end)) for end in (low, high))
    slack = _ROUNDING * torch.maximum(*sizes)
    return (value < low - slack) | (value > high + slack)


class _IntervalHead(UnitHead):
    """A head for a prior on an interval, which :func:`~pyro_infogan.codes.unit` maps to (−1, 1)."""

    def __init__(self, prior: Distribution, features: int, size: int) -> None:
        base = base_support(prior)
        ends = bounds(base) if isinstance(base, constraints.interval) else [torch.tensor(math.inf)]
        if not all(end.isfinite().all() for end in ends):
            raise DeclarationError(
                f"families.{type(self).__name__}",
                got=f"a prior with support {base}",
                expected="an interval",
                fix="Use a family of the real line, such as families.Normal.",
            )
        super().__init__(prior, features, size)

    def stretched(self, unit_interval: Distribution) -> Distribution:
        """A distribution on (0, 1) brought to the prior's interval."""
        low = self.centre - self.scale
        return _Stretched(unit_interval, AffineTransform(low, 2 * self.scale)).to_event(
            len(self.vector)
        )


class _Stretched(dist.TransformedDistribution):
    """A distribution on an interval whose density is finite at the edges."""

    def __init__(self, base: Distribution, stretch: AffineTransform) -> None:
        super().__init__(base, [stretch])
        self.low, self.width = stretch.loc, stretch.scale

    @property
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.low + self.width)

    def log_prob(self, value: Tensor) -> Tensor:
        share = ((value - self.low) / self.width).clamp(_EDGE, 1 - _EDGE)
        density = self.base_dist.log_prob(share) - torch.as_tensor(self.width).log()
        outside = _beyond(value, self.low, self.low + self.width)
        return density.masked_fill(outside, -math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(sample_shape).clamp(self.low, self.low + self.width)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Stretched":
        del _instance
        stretch = AffineTransform(self.low, self.width)
        return _Stretched(self.base_dist.expand(batch_shape), stretch)


class Beta(_IntervalHead):
    """A Beta distribution stretched over the prior's interval.

    Args:
        prior: a prior on an interval, or a vector of such.
        features: width of Q's last hidden layer.
        floor: the concentration stays under 1/floor², where the standard deviation in the middle
            of the interval is about this share of its half-width.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        super().__init__(prior, features, 2)
        self.floor = floor

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_total = self.elements(features).unbind(-1)
        # At 0 the total is 2, the uniform distribution's.
        total = 1 / (positive(-log_total) / 2 + self.floor**2)
        mean = mean.sigmoid().clamp(_EDGE, 1 - _EDGE)
        return self.stretched(dist.Beta(mean * total, (1 - mean) * total))


class LogitNormal(_IntervalHead):
    """The logistic function of a normal, stretched over the prior's interval.

    Args:
        prior: a prior on an interval, or a vector of such.
        features: width of Q's last hidden layer.
        floor: least standard deviation of the normal, before the logistic function.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        super().__init__(prior, features, 2)
        self.floor = floor

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_std = self.elements(features).unbind(-1)
        normal = dist.Normal(mean, positive(log_std) + self.floor)
        return self.stretched(dist.TransformedDistribution(normal, [SigmoidTransform()]))


class Spline(_IntervalHead):
    """A rational linear spline of the uniform distribution: any shape, several modes included.

    Dolatabadi et al. 2020 (arXiv 2001.05168), by Pyro's transform.

    Args:
        prior: a prior on an interval, or a vector of such.
        features: width of Q's last hidden layer.
        bins: pieces of the spline.
    """

    def __init__(self, prior: Distribution, features: int, bins: int = 8) -> None:
        super().__init__(prior, features, 4 * bins - 1)
        self.bins = bins

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        sizes = [self.bins, self.bins, self.bins - 1, self.bins]
        # Past these a bin is too thin for float32.
        raw = self.elements(features).clamp(-_STEEP, _STEEP)
        widths, heights, slopes, knots = raw.split(sizes, -1)
        shape = widths.softmax(-1), heights.softmax(-1), F.softplus(slopes), knots.sigmoid()
        spline = _Spline(lambda: shape, bound=1.0, order="linear")
        edge = torch.ones(widths.shape[:-1], device=widths.device)
        to_unit = AffineTransform(0.5, 0.5)
        uniform = _Flat(-edge, edge)
        return self.stretched(dist.TransformedDistribution(uniform, [spline, to_unit]))


class _Spline(ConditionedSpline):
    """Pyro's spline, whose parameters do not broadcast, for values of any batch shape that does."""

    def spline_op(self, x: Tensor, **kwargs: Any) -> Any:
        parts = list(self._params())
        x = x.expand(torch.broadcast_shapes(x.shape, parts[0].shape[:-1]))
        parts = [part.expand(*x.shape, part.shape[-1]) for part in parts]
        wide = ConditionedSpline(lambda: parts, bound=self.bound, order=self.order)
        return wide.spline_op(x, **kwargs)


class _Flat(dist.Uniform):
    """A uniform distribution that forgives a spline's rounding at its ends."""

    def log_prob(self, value: Tensor) -> Tensor:
        return -torch.log(self.high - self.low).expand(value.shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_Flat":
        del _instance
        return _Flat(self.low.expand(batch_shape), self.high.expand(batch_shape))


class TruncatedNormal(UnitHead):
    """A normal cut off at the ends of the prior's support, and scaled up to integrate to 1.

    Args:
        prior: a prior on an interval or a half-line, or a vector of such.
        features: width of Q's last hidden layer.
        floor: least scale, as a share of the prior's scale: of an interval's half-width, of the
            standard deviation on a half-line.
    """

    low: Tensor
    high: Tensor

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        low, high = least_and_greatest(prior)
        if not has_ends(prior) or not (low.isfinite() | high.isfinite()).all():
            raise DeclarationError(
                "families.TruncatedNormal",
                got=f"a prior with support {base_support(prior)}",
                expected="an interval or a half-line",
                fix="Use a family of the real line, such as families.Normal.",
            )
        super().__init__(prior, features, 2)
        self.floor = floor
        # Those of the declaration, as centre and scale are.
        self.register_buffer("low", low.clone())
        self.register_buffer("high", high.clone())

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_std = self.elements(features).unbind(-1)
        below, above = self.low.isfinite(), self.high.isfinite()
        # Further out or wider, what is left of the normal is an exponential to within rounding.
        least, most = torch.where(below, -_FAR, -math.inf), torch.where(above, _FAR, math.inf)
        widest = torch.where(below & above, math.log(_FAR), math.inf)
        posterior = TruncatedNormalDistribution(
            self.centre + self.scale * mean.clamp(least, most),
            self.scale * (positive(log_std.minimum(widest)) + self.floor),
            self.low,
            self.high,
        )
        return posterior.to_event(len(self.vector))


class TruncatedNormalDistribution(Ended):
    """N(loc, scale²) given that it falls between low and high.

    Args:
        loc: mean before the cut.
        scale: standard deviation before the cut.
        low: lower end, which may be −∞.
        high: upper end, which may be ∞.

    Example:
        >>> cut = TruncatedNormalDistribution(torch.tensor(0.0), torch.tensor(1.0), -1.0, 1.0)
        >>> round(cut.log_prob(torch.tensor(0.0)).exp().item(), 4)
        0.5844
    """

    has_rsample = True

    @property
    def support(self) -> constraints.Constraint:
        """All between the ends, and they themselves."""
        return constraints.interval(self.low, self.high)

    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """Standardised ends, mirrored to where the normal's tail is the lower one; and the sign.

        In float64: the mass between two ends far out is a difference of nearly equal numbers.
        """
        loc, scale = self.loc.double(), self.scale.double()
        # Where there is no end, one from which no gradient comes: that of an infinite one is none.
        below, above = self.low.isfinite(), self.high.isfinite()
        start = (self.low.where(below, loc) - loc) / scale
        end = (self.high.where(above, loc) - loc) / scale
        far = _NOTHING + torch.maximum(start.abs(), end.abs()).detach()
        start, end = start.where(below, -far), end.where(above, far)
        upper = start + end > 0
        sign = torch.where(upper, -1.0, 1.0)
        return torch.where(upper, -end, start), torch.where(upper, -start, end), sign

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        start, end, _ = self._ends()
        upper, lower = torch.special.log_ndtr(end), torch.special.log_ndtr(start)
        # log(Φ(end) − Φ(start)) without leaving the logarithm.
        mass = upper + torch.log(-torch.expm1(lower - upper))
        loc, scale = self.loc.double(), self.scale.double()
        density = dist.Normal(loc, scale, validate_args=False).log_prob(value) - mass
        outside = _beyond(value, self.low, self.high)
        return density.masked_fill(outside, -math.inf).to(self.loc.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by the inverse of the distribution function, differentiable."""
        shape = self._extended_shape(torch.Size(sample_shape))
        start, end, sign = self._ends()
        share = torch.rand(shape, device=self.loc.device, dtype=torch.float64)
        lower, upper = torch.special.log_ndtr(start), torch.special.log_ndtr(end)
        # log((1 − share) Φ(start) + share Φ(end)): far in a tail both are 0 in all their digits.
        log_p = upper + torch.log(share + (1 - share) * torch.exp(lower - upper))
        standard = _log_quantile(log_p).clamp(start, end)
        drawn = self.loc.double() + self.scale.double() * sign * standard
        return drawn.to(self.loc.dtype).clamp(self.low, self.high)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws without a gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape)


def _log_quantile(log_p: Tensor) -> Tensor:
    """Where the standard normal's distribution function is exp(``log_p``), however low; float64."""
    middle = torch.special.ndtri(log_p.clamp(min=_TAIL).exp())
    low = log_p.clamp(max=_TAIL)
    with torch.no_grad():
        # From below: log Φ is concave, so that Newton's steps never pass the root.
        x = -(-2 * low).sqrt()
        for _ in range(5):
            x = _newton(x, low)
    # The last step has the gradient of the root.
    return torch.where(log_p < _TAIL, _newton(x, low), middle)


def _newton(x: Tensor, log_p: Tensor) -> Tensor:
    """A step towards log Φ(x) = ``log_p``, x at most 0."""
    # Φ/φ, without either.
    inverse_slope = math.sqrt(math.pi / 2) * torch.special.erfcx(-x / math.sqrt(2))
    return x - (torch.special.log_ndtr(x) - log_p) * inverse_slope


class LogNormal(Head):
    """A normal of the logarithm of the distance from where the prior's half-line ends.

    Numbers near the end are told as finely, for their distance from it, as those far off.

    Args:
        prior: a prior on a half-line, or a vector of such.
        features: width of Q's last hidden layer.
        floor: least standard deviation of the logarithm, as a share of the one that the prior's
            draws have.
    """

    end: Tensor
    way: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        if not half_line(prior):
            raise DeclarationError(
                "families.LogNormal",
                got=f"a prior with support {base_support(prior)}",
                expected="a half-line",
                fix="Use families.LogitNormal for an interval, families.Normal for the real line.",
            )
        super().__init__(features, prior.event_shape, 2)
        self.floor = floor
        for name, buffer in zip(("end", "way", "centre", "scale"), log_units(prior), strict=True):
            self.register_buffer(name, buffer)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, log_std = self.elements(features).unbind(-1)
        distance = dist.LogNormal(
            self.centre + self.scale * mean.clamp(-_FAR, _FAR),
            self.scale * (positive(log_std.clamp(max=math.log(_FAR))) + self.floor),
        )
        return _FromEnd(distance, self.end, self.way).to_event(len(self.vector))


class _FromEnd(dist.TransformedDistribution):
    """A distance from the end of a half-line, whose density there is finite.

    Args:
        distance: its distribution, from 0 up.
        end: where the half-line ends.
        way: 1 where it goes up from there, −1 where down.
    """

    def __init__(self, distance: Distribution, end: Tensor, way: Tensor) -> None:
        super().__init__(distance, [AffineTransform(end, way)])
        self.end, self.way = end, way

    @property
    def support(self) -> constraints.Constraint:
        infinite = torch.full_like(self.end, math.inf)
        up = self.way > 0
        return constraints.interval(self.end.where(up, -infinite), self.end.where(~up, infinite))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        distance = (value - self.end) * self.way
        return self.base_dist.log_prob(distance.clamp(min=_TINY)).masked_fill(
            distance < 0, -math.inf
        )

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        # As far as numbers go.
        most = torch.finfo(self.end.dtype).max
        return super().rsample(sample_shape).clamp(-most, most)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_FromEnd":
        del _instance
        return _FromEnd(self.base_dist.expand(batch_shape), self.end, self.way)


class Dirichlet(Head):
    """Concentrations of a Dirichlet distribution, for shares that sum to 1."""

    def __init__(self, prior: Distribution, features: int) -> None:
        *vector, shares = prior.event_shape or (1,)
        super().__init__(features, tuple(vector), shares)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        return _InnerDirichlet(positive(self.elements(features)) + 1e-3).to_event(len(self.vector))


class _InnerDirichlet(dist.Dirichlet):
    """A Dirichlet whose density is finite at the edges of the simplex."""

    def log_prob(self, value: Tensor) -> Tensor:
        inside = value.clamp(min=_EDGE)
        return super().log_prob(inside / inside.sum(-1, keepdim=True))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "_InnerDirichlet":
        del _instance
        return _InnerDirichlet(self.concentration.expand(*batch_shape, *self.event_shape))
