"""Which code follows which known factor: a number where the paper shows pictures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import scipy.stats
from sklearn.metrics import adjusted_mutual_info_score, homogeneity_score, mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from ..datasets import Factor, ImageSet
from ..errors import DataError
from ..infogan import InfoGAN
from .inferred import Inferred, inferred

__all__ = ["Following", "agreement", "best_reading", "follow", "followed", "likeness"]

_BINS = 10
"""Into how many equally full bins a number is put beside kinds."""


@dataclass(frozen=True)
class Following:
    """How well the codes follow one factor.

    Attributes:
        code: the one that follows best.
        element: which number of it, where it is a vector.
        measure: what was measured: Spearman's, the circular or the circular-linear rank
            correlation, or homogeneity.
        value: of the best code, in [0, 1].
        every: of all codes, by label.
    """

    code: str
    element: int
    measure: str
    value: float
    every: dict[str, float]

    @property
    def label(self) -> str:
        """The code, with the place of the number where it is a vector."""
        return self.code if self.code in self.every else f"{self.code}[{self.element}]"

    def __str__(self) -> str:
        return f"{self.label}, {self.measure} {self.value:.3f}"


def agreement(factor: Factor, reading: Factor) -> tuple[str, float]:
    """How much of a factor a reading has, in [0, 1], and by which measure.

    Both numbers: the absolute value of Spearman's rank correlation. Where one turns round a
    circle, whichever is larger of two rank correlations, both squared as they are defined: the
    circular r₀ of Mardia (1975), the larger of R̄²(α − β) and R̄²(α + β) where α and β are the ranks
    as angles, of a number that goes once round as the other does; and the circular-linear D of
    Mardia (1976), of one that goes up over half of the circle and down over the other, as that
    says which side something shows. Where both turn, r₀. Where either takes kinds: homogeneity
    (Rosenberg and Hirschberg 2007), the mutual information as a share of the entropy of the factor,
    I(f; c) / H(f), a number being put into ten equally full bins. It is 1 where the reading tells
    the factor, whatever else it tells: normalised by the mean of both entropies, as NMI is, ten
    categories could not have more than 0.46 of a factor of two kinds.

    Nothing is taken off for chance, which gives much of each where there are few images: ten kinds
    and a number that know nothing of each other have a homogeneity of 0.22 in a hundred images.

    Args:
        factor: the truth, (n,).
        reading: of the same images.

    Example:
        >>> import torch
        >>> up = torch.linspace(-1.0, 1.0, 100)
        >>> agreement(Factor(up), Factor(-up))
        ('Spearman', 1.0)
        >>> turn = Factor(math.pi * up, period=2 * math.pi)
        >>> agreement(turn, Factor((up + 0.5).remainder(2.0)))
        ('circular', 1.0)
        >>> agreement(turn, Factor(up.abs()))
        ('circular-linear', 1.0)
        >>> agreement(Factor((up > 0).long()), Factor((up < 0).long()))
        ('homogeneity', 1.0)
    """
    if factor.is_kind or reading.is_kind:
        told = 0.0
        if not _constant(factor, reading):
            told = homogeneity_score(_kinds(factor), _kinds(reading))
        return "homogeneity", _rounded(told)
    if not factor.period and not reading.period:
        return "Spearman", _spearman(factor, reading)
    found = {"circular": _circular(factor, reading)}
    if not reading.period:
        found["circular-linear"] = _circular_linear(factor, reading)
    elif not factor.period:
        found["circular-linear"] = _circular_linear(reading, factor)
    return max(found.items(), key=itemgetter(1))


def likeness(one: Factor, other: Factor) -> tuple[str, float]:
    """How much two readings say the same, in [0, 1], and by which measure; in either order.

    As :func:`agreement`, of which neither is the truth: the circular rank correlation where either
    is an angle; and where either takes kinds the mutual information adjusted for chance and
    normalised by the smaller entropy (AMI; Vinh, Epps and Bailey 2010), 1 where either one tells
    the other.

    Args:
        one: (n,).
        other: of the same images.

    Example:
        >>> import torch
        >>> fine = torch.arange(100) % 10
        >>> likeness(Factor(fine), Factor(fine // 5)), likeness(Factor(fine // 5), Factor(fine))
        (('AMI', 1.0), ('AMI', 1.0))
    """
    if one.is_kind or other.is_kind:
        told = 0.0
        if not _constant(one, other):
            kinds = _kinds(one), _kinds(other)
            told = adjusted_mutual_info_score(*kinds, average_method="min")
        # Of as many kinds as images nothing can be told, and what is left is rounding.
        return "AMI", _rounded(min(max(told, 0.0), 1.0))
    if one.period or other.period:
        return "circular", _circular(one, other)
    return "Spearman", _spearman(one, other)


def best_reading(
    factor: Factor, read: Mapping[str, Factor], agreements: Mapping[str, tuple[str, float]]
) -> str:
    """Which of several readings has the most of a factor.

    The one with the greatest agreement; but correlations and shares of an entropy are not
    to be compared: of the best number and the best that takes kinds it is the one with more mutual
    information with the factor, less what chance gives, with all numbers in ten equally full bins.

    Args:
        factor: the truth, (n,).
        read: readings of the same images, by any names.
        agreements: what :func:`agreement` gives of each.

    Example:
        >>> import torch
        >>> up = torch.linspace(-1.0, 1.0, 1_000)
        >>> rough = up + 2 * torch.arange(1_000).remainder(7)
        >>> read = {"rough": Factor(rough), "tenths": Factor((up * 5).long() + 5)}
        >>> each = {name: agreement(Factor(up), one) for name, one in read.items()}
        >>> best_reading(Factor(up), read, each)
        'tenths'
    """
    best: dict[bool, str] = {}
    for name in sorted(read, key=lambda name: -agreements[name][1]):
        best.setdefault(read[name].is_kind, name)
    return max(best.values(), key=lambda name: _nats(factor, read[name]))


def _nats(one: Factor, other: Factor) -> float:
    """Mutual information as kinds, less what is expected of chance (Vinh et al. 2010)."""
    table = contingency_matrix(_kinds(one), _kinds(other), sparse=True, dtype=np.int64)
    told = mutual_info_score(None, None, contingency=table)
    return told - expected_mutual_information(table, len(one.values))


def _constant(*factors: Factor) -> bool:
    """Whether one does not vary: it follows nothing, and has neither ranks nor entropy."""
    return any(np.ptp(factor.values.cpu().numpy()) == 0 for factor in factors)


def _kinds(factor: Factor) -> np.ndarray:
    """Numbers as kinds: equally full bins."""
    if factor.is_kind:
        return factor.values.cpu().numpy()
    return (_ranks(factor) - 1) * _BINS // len(factor.values)


def _ranks(factor: Factor) -> np.ndarray:
    """Of numbers; of angles once around, however far they are wound."""
    values = factor.values.cpu().numpy()
    return scipy.stats.rankdata(values % factor.period if factor.period else values)


def _turn(factor: Factor) -> np.ndarray:
    """Ranks as points of the unit circle, evenly once around."""
    return np.exp(2j * math.pi * _ranks(factor) / len(factor.values))


def _circular(one: Factor, other: Factor) -> float:
    if _constant(one, other):
        return 0.0
    first, second = _turn(one), _turn(other)
    return _rounded(max(abs((first * each).mean()) ** 2 for each in (second.conj(), second)))


def _circular_linear(angle: Factor, number: Factor) -> float:
    if _constant(angle, number):
        return 0.0
    ranks = scipy.stats.zscore(_ranks(number))
    # Of ranks evenly once around, cosine and sine are uncorrelated with a variance of 1/2 each;
    # π⁴/96 makes it 1 for many images where it can be no more.
    return _rounded(min(2 * abs((_turn(angle) * ranks).mean()) ** 2 * math.pi**4 / 96, 1.0))


def _spearman(one: Factor, other: Factor) -> float:
    if _constant(one, other):
        return 0.0
    return _rounded(abs(np.corrcoef(_ranks(one), _ranks(other))[0, 1]))


def _rounded(value: float) -> float:
    """Without the last digits, in which 1 may be a little more."""
    return round(float(value), 12)


def follow(gan: InfoGAN, dataset: ImageSet) -> dict[str, Following]:
    """For each factor of held-out images, how well each code follows it, and which does best.

    Args:
        gan: a trained InfoGAN.
        dataset: images with factors.

    Raises:
        DataError: for images that do not fit, or fewer than two.
    """
    if not dataset.factors:
        return {}
    return followed(inferred(gan, dataset.images, progress=False), dataset.factors)


def followed(read: Mapping[str, Inferred], factors: Mapping[str, Factor]) -> dict[str, Following]:
    """The same of what Q has read of the images.

    Args:
        read: from ``inferred``.
        factors: of the same images.

    Raises:
        DataError: for fewer than two images.
    """
    found = {}
    for name, factor in factors.items():
        if len(factor.values) < 2:
            raise DataError("images", got=1, expected="2 or more", fix="Bring more.")
        readings = {label: one.factor for label, one in read.items()}
        each = {label: agreement(factor, one) for label, one in readings.items()}
        best = best_reading(factor, readings, each)
        measure, value = each[best]
        every = {label: number for label, (_, number) in each.items()}
        found[name] = Following(read[best].code, read[best].element, measure, value, every)
    return found
