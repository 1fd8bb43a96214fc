"""Calibration of Q: does the true code fall where Q(c | x) says, as often as Q says?

A code is drawn from the prior and an image generated from it, so that Q can be held against the
truth (simulation-based calibration, Talts et al. 2018, arXiv 1804.06788). Where Q is the true
posterior, the code is one more draw of it: its rank among ``samples`` draws of Q is uniform on 0 to
``samples``, whatever the networks. Too narrow a Q gives too many extreme ranks, too wide a one too
few.

A category has no order. Of a code with few of them, the most probable one is held against how often
it is right: the expected calibration error and reliability curve of Guo et al. 2017 (arXiv
1706.04599), and a p-value by resampling codes from Q's own probabilities (Bröcker and Smith 2007).

Both are averages over images: errors of one image can hide those of another, and the prior itself
is calibrated, with L_I = 0. Coverage cannot tell a Q that lies to one side of the truth from one
that is too narrow, which the ranks do.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Literal

import numpy as np
import pyro.distributions as dist
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from ..codes import CodePrior, Key, base_support, bounds, element_of, is_angle, support
from ..errors import checked_count
from ..inference.families.bounded import TruncatedNormalDistribution
from ..infogan import BATCH, InfoGAN
from ..randomness import seeded

__all__ = ["Calibration", "calibrate"]

_AT_ONCE = 2_000_000
"""Numbers drawn from Q at once, to bound memory."""
_RANK_BINS = 20
# With fewer images in a bin, chi-square is a poor description of its count.
_LEAST_EXPECTED = 5
# The number that Guo et al. use.
_CONFIDENCE_BINS = 15
_RESAMPLES = 999
# Digits of less are those of chi-square's tail, not of the ranks.
_LEAST_P = 0.0001
# Share of its size by which float32 may miss the end of an interval.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Calibration:
    """Whether one number of a code lies where Q says, as often as Q says.

    Attributes:
        statistic: what was looked at. ``"rank"``: that of the true value among draws of Q. So it is
            with continuous codes, and also with counts without end and discrete codes of a joint
            posterior, where ties are broken at random. ``"confidence"``: the probability of the
            most probable category.
        counts: how many images had each rank from 0 up; or a confidence in each of 15 equal bins of
            (0, 1].
        nominal: levels of Q's central intervals, by ranks; or the mean confidence in each bin that
            is not empty.
        observed: share of the true values inside each interval; or share in which the most probable
            category was the true one. Below ``nominal``, Q is over-confident.
        gap: mean absolute difference of observed and nominal, over levels; or over images, as the
            expected calibration error.
        chance: what the gap of a calibrated Q is on as many images, on average.
        p_value: how probable ranks as uneven (chi-square on at most 20 bins), or a gap as large (by
            999 resamples, so that it is never under 0.001), are under a calibrated Q.
        outside: mean mass that Q puts outside the prior's support; None of a discrete code, and of
            a prior without edges.
        leak: nats lost by it, E[−log Q(support | x)]: what renormalising Q to the support would add
            to L_I. A code with a joint posterior has that of its marginal. Of each image both are
            exact where the family has a cdf or the prior's support, else estimates from the draws.
    """

    statistic: Literal["rank", "confidence"]
    counts: list[int]
    nominal: list[float]
    observed: list[float]
    gap: float
    chance: float
    p_value: float
    outside: float | None = None
    leak: float | None = None

    def __str__(self) -> str:
        what = "coverage" if self.statistic == "rank" else "confidence"
        text = f"{what} off by {self.gap:.4f} ({self.chance:.4f} by chance), {self.p_text}"
        if self.outside is None:
            return text
        return f"{text}; {self.outside:.2%} outside the support, {self.leak:.4f} nats lost"

    @property
    def p_text(self) -> str:
        """``p_value`` to three digits, or only that it is less than any that matters."""
        return f"p = {self.p_value:.3g}" if self.p_value >= _LEAST_P else f"p < {_LEAST_P}"

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts, of ranks in at most 20 bins; and each bin's share of the axis.

        The share of the ranks is what a bin holds of a calibrated Q's images.
        """
        counts = np.array(self.counts)
        if self.statistic == "rank":
            return _gathered(counts)
        return counts, np.full(len(counts), 1 / len(counts))


def _gathered(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of neighbouring ranks together, and the share of all ranks that each bin has."""
    bins = max(2, min(_RANK_BINS, ranks.sum() // _LEAST_EXPECTED, len(ranks)))
    starts = -(-np.arange(bins) * len(ranks) // bins)
    sizes = np.diff(starts, append=len(ranks))
    return np.add.reduceat(ranks, starts), sizes / len(ranks)


@torch.no_grad()
def calibrate(
    gan: InfoGAN, draws: int = 2_000, samples: int = 99, seed: int = 0
) -> dict[str, Calibration]:
    """Hold Q against the true codes of generated images.

    The networks run in evaluation mode. A p-value is rough below ten images.

    Args:
        gan: a trained InfoGAN.
        draws: generated images.
        samples: draws of each image's posterior among which the true code is ranked.
        seed: of all draws; the caller's random state is left as it was.

    Returns:
        A calibration for every number of a continuous code and for every discrete one, in the order
        of the declaration; the elements of a vector code are named as in ``style[0]``.

    Raises:
        DataError: for fewer than two draws or samples, or a generator that gives no images.

    Example:
        >>> import pyro.distributions as dist
        >>> gan = InfoGAN({"slant": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 8, 8))
        >>> found = calibrate(gan, draws=50)["slant"]
        >>> sum(found.counts), len(found.counts), len(found.nominal)
        (50, 100, 49)
    """
    checked_count("draws", draws, least=2)
    checked_count("samples", samples, least=2)
    size = max(1, min(BATCH, _AT_ONCE // (samples * gan.prior.width)))
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in gan.prior.sites}
    with seeded(seed):
        for start in range(0, draws, size):
            noise, codes = gan.draw(min(size, draws - start))
            posteriors = gan.infer(gan.generate(len(noise), codes, noise))
            for name, evidence in _evidence(gan.prior, posteriors, codes, samples):
                parts[name].append(evidence)
        return {
            label: _of_ranks(samples, **seen) if "rank" in seen else _of_confidences(**seen)
            for name, listed in parts.items()
            for label, seen in _numbers(name, listed)
        }


def _numbers(
    name: str, listed: Sequence[Mapping[str, Tensor]]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every number of a code by its label, from the evidence (n, *numbers) of each batch."""
    whole = {field: torch.cat([part[field] for part in listed]).cpu() for field in listed[0]}
    if all(value.dim() == 1 for value in whole.values()):
        yield name, whole
        return
    columns = {field: value.flatten(1).unbind(1) for field, value in whole.items()}
    for index, values in enumerate(zip(*columns.values(), strict=True)):
        yield f"{name}[{index}]", dict(zip(columns, values, strict=True))


# What one batch of images shows


def _evidence(
    prior: CodePrior,
    posteriors: Mapping[Key, Distribution],
    codes: Mapping[str, Tensor],
    samples: int,
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """For each code, what :func:`_of_ranks` or :func:`_of_confidences` reads, (n, *numbers)."""
    sites = prior.present()
    for key, posterior in posteriors.items():
        if not isinstance(key, str):
            drawn = prior.split(posterior.sample(torch.Size([samples])), key)
            for name, values in drawn.items():
                yield name, _ranked(sites[name], codes[name], values)
            continue
        element = element_of(posterior)
        if prior.is_discrete(key) and element.has_enumerate_support:
            yield key, _forecast(element, codes[key])
        else:
            values = posterior.sample(torch.Size([samples]))
            yield key, _ranked(sites[key], codes[key], values, element)


def _forecast(posterior: Any, truth: Tensor) -> dict[str, Tensor]:
    """Probability of the most probable category, and whether it is the true one."""
    categories = posterior.enumerate_support(expand=False)
    confidence, index = posterior.log_prob(categories).max(0)
    chosen = categories.reshape(-1, *posterior.event_shape)[index]
    correct = chosen == truth
    if posterior.event_shape:
        correct = correct.flatten(-len(posterior.event_shape)).all(-1)
    return {"confidence": confidence.double().exp().clamp(max=1.0), "correct": correct}


def _ranked(
    prior: Distribution, truth: Tensor, values: Tensor, posterior: Any = None
) -> dict[str, Tensor]:
    """Ranks of the truth (n, *event) among draws (samples, n, *event), and the mass outside.

    Args:
        prior: the code's prior.
        truth: what was drawn from it.
        values: draws of Q.
        posterior: Q, where the code has one of its own: of one element.
    """
    if support(prior).is_discrete:
        if isinstance(base_support(prior), type(constraints.one_hot)):
            truth, values = truth.argmax(-1), values.argmax(-1)
        return {"rank": _rank(truth, values)}
    low, high = _edges(prior, truth)
    turns = isinstance(posterior, dist.VonMises)
    if turns and low.isfinite().all():
        # An angle is the same a turn later; the prior's interval says which turn is meant.
        values = low + (values - low).remainder(2 * math.pi)
    circular = turns or is_angle(prior)
    evidence = {"rank": _rank(*_unrolled(truth, values) if circular else (truth, values))}
    if low.isfinite().any() or high.isfinite().any():
        evidence |= _outside(posterior, values, low, high)
    return evidence


def _rank(truth: Tensor, values: Tensor) -> Tensor:
    """How many draws lie below the truth, equal ones at random: uniform for discrete codes too."""
    below, equal = (values < truth).sum(0), (values == truth).sum(0)
    return below + (torch.rand(equal.shape, device=equal.device) * (equal + 1)).long()


def _unrolled(truth: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Angles as numbers around their mean direction.

    The mean is that of draws and truth together: as all of them are treated alike, the rank of the
    truth stays uniform, and the cut lies where Q has least mass.
    """
    together = torch.cat([truth.unsqueeze(0), values])
    mean = torch.atan2(together.sin().mean(0), together.cos().mean(0))
    around = (together - mean + math.pi).remainder(2 * math.pi)
    return around[0], around[1:]


def _edges(distribution: Distribution, like: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of a support for each number of ``like``, in float64; infinite where there are none."""
    ends = bounds(base_support(distribution))
    low, high = (end.to(like.device, torch.float64).expand(like.shape) for end in ends)
    return low, high


def _outside(posterior: Any, values: Tensor, low: Tensor, high: Tensor) -> dict[str, Tensor]:
    """Q's mass outside [low, high], and −log of that inside, in nats, (n, *event)."""
    size = torch.maximum(low.abs(), high.abs())
    slack = torch.where(size.isfinite(), _ROUNDING * size, 0.0)
    if posterior is not None:
        start, end = _edges(posterior, low)
        if ((start >= low - slack) & (end <= high + slack)).all():
            return {"outside": torch.zeros_like(low), "leak": torch.zeros_like(low)}
    try:
        if posterior is None or posterior.event_shape:
            raise NotImplementedError
        leak = -_log_mass(posterior, low, high)
        outside = -torch.expm1(-leak)
    # A cdf may refuse values that Q cannot take.
    except (NotImplementedError, ValueError):
        samples = len(values)
        inside = ((values >= low - slack) & (values <= high + slack)).sum(0).double()
        outside = 1 - inside / samples
        # Of m = Q(inside), −log m = Σ (1 − m)^j / j over j ≥ 1. The terms up to ``samples`` have
        # unbiased estimates, whose sum is this; the rest, positive, is left out.
        leak = torch.digamma(torch.full_like(inside, samples + 1)) - torch.digamma(inside + 1)
    return {"outside": outside, "leak": leak}


@singledispatch
def _log_mass(posterior: Any, low: Tensor, high: Tensor) -> Tensor:
    """Log Q(low ≤ c ≤ high | x) in nats, float64, by the family's cdf.

    Raises:
        NotImplementedError: for a family that has none.
    """
    mass = posterior.cdf(high) - posterior.cdf(low)
    # Below this, the difference of two numbers near 1 is rounding.
    return mass.double().clamp(torch.finfo(torch.float64).eps, 1.0).log()


@_log_mass.register(dist.Normal)
def _(posterior: Any, low: Tensor, high: Tensor) -> Tensor:
    loc, scale = posterior.loc.double(), posterior.scale.double()
    cut = TruncatedNormalDistribution(loc, scale, low, high, validate_args=False)
    inside = torch.minimum(torch.maximum(loc, low), high)
    # By what renormalising divides the density; exact where the cdf is 0 or 1 in all its digits.
    return dist.Normal(loc, scale).log_prob(inside) - cut.log_prob(inside)


@_log_mass.register(dist.Laplace)
def _(posterior: Any, low: Tensor, high: Tensor) -> Tensor:
    start, end = (low - posterior.loc) / posterior.scale, (high - posterior.loc) / posterior.scale
    # Mirrored, where the peak lies nearer to the lower end: the tail is a plain exponential.
    start, end = (torch.where(start + end > 0, *each) for each in ((-end, start), (-start, end)))
    tail = end - math.log(2) + torch.log(-torch.expm1(start - end))
    around = torch.log1p(-(start.clamp(max=0).exp() + (-end).clamp(max=0).exp()) / 2)
    return torch.where(end < 0, tail, around)


@_log_mass.register(dist.MixtureSameFamily)
def _(posterior: Any, low: Tensor, high: Tensor) -> Tensor:
    parts = _log_mass(posterior.component_distribution, low.unsqueeze(-1), high.unsqueeze(-1))
    return (posterior.mixture_distribution.logits + parts).logsumexp(-1)


# What all images say together


def _of_ranks(
    samples: int, rank: Tensor, outside: Tensor | None = None, leak: Tensor | None = None
) -> Calibration:
    counts = torch.bincount(rank, minlength=samples + 1)
    n = len(rank)
    # Ranks from a to samples − a: the interval between two draws of Q, whose level is exact.
    margins = range(samples // 2, 0, -1)
    nominal = np.array([samples + 1 - 2 * a for a in margins]) / (samples + 1)
    inside = [counts[a : samples + 1 - a].sum().item() for a in margins]
    observed = np.array(inside) / n
    # Mean deviation of a normal number with a binomial's variance.
    chance = np.sqrt(2 / math.pi * nominal * (1 - nominal) / n)
    seen, share = _gathered(counts.numpy())
    return Calibration(
        "rank",
        counts=counts.tolist(),
        nominal=nominal.tolist(),
        observed=observed.tolist(),
        gap=float(np.abs(observed - nominal).mean()),
        chance=float(chance.mean()),
        p_value=float(scipy.stats.chisquare(seen, share * n).pvalue),
        outside=None if outside is None else outside.mean().item(),
        leak=None if leak is None else leak.mean().item(),
    )


def _of_confidences(confidence: Tensor, correct: Tensor) -> Calibration:
    n = len(confidence)
    # A bin holds its upper end, so that confidence 1 lies in the last.
    bins = ((confidence * _CONFIDENCE_BINS).ceil().long() - 1).clamp(0, _CONFIDENCE_BINS - 1)

    def sums(values: Tensor) -> Tensor:
        return torch.bincount(bins, weights=values.double(), minlength=_CONFIDENCE_BINS)

    counts, claimed = sums(torch.ones(n)), sums(confidence)

    def gap(correct: Tensor) -> float:
        return (sums(correct) - claimed).abs().sum().item() / n

    observed = gap(correct)
    resampled = [gap(torch.rand(n) < confidence) for _ in range(_RESAMPLES)]
    used = counts > 0
    return Calibration(
        "confidence",
        counts=counts.long().tolist(),
        nominal=(claimed / counts)[used].tolist(),
        observed=(sums(correct) / counts)[used].tolist(),
        gap=observed,
        chance=float(np.mean(resampled)),
        # The codes themselves are one more resample.
        p_value=(1 + sum(other >= observed for other in resampled)) / (1 + _RESAMPLES),
    )
