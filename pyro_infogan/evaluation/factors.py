"""Which code follows which known factor: a number where the paper shows pictures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats
from sklearn.metrics import mutual_info_score
from torch import Tensor

from ..datasets import Factor, ImageSet
from ..errors import DataError
from ..infogan import InfoGAN
from .inferred import Inferred, inferred

__all__ = ["Following", "agreement", "follow", "followed"]

_BINS = 10
"""Into how many equally full bins a number is put beside kinds."""


@dataclass(frozen=True)
class Following:
    """How well the codes follow one factor.

    Attributes:
        code: the one that follows best.
        element: which number of it, where it is a vector.
        measure: what was measured: Spearman's or the circular rank correlation, or NMI.
        value: of the best code, in [0, 1].
        every: of all codes, by label.
    """

    code: str
    element: int
    measure: str
    value: float
    every: dict[str, float]

    def __str__(self) -> str:
        return f"{self.code}, {self.measure} {self.value:.3f}"


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks as angles, evenly once around."""
    return 2 * math.pi * scipy.stats.rankdata(values) / len(values)


def _bins(values: np.ndarray) -> np.ndarray:
    """Numbers as kinds: equally full bins."""
    return (scipy.stats.rankdata(values) - 1) * _BINS // len(values)


def agreement(factor: Factor, values: Tensor) -> tuple[str, float]:
    """How much of a factor a reading has, in [0, 1], and by which measure.

    Both numbers: the absolute value of Spearman's rank correlation; where the factor turns round a
    circle, the circular rank correlation r₀ of Mardia (1975), the larger of R̄²(α − β) and
    R̄²(α + β) where α and β are the ranks as angles. A code on a line may go once round the circle
    too, and is taken for an angle. Where either takes kinds: the mutual information normalised by
    the entropy of the factor, I(f; c) / H(f), a number being put into ten equally full bins. It is
    1 where the reading tells the factor, whatever else it tells: normalised by the mean of both
    entropies, ten categories could not have more than 0.46 of a factor of two kinds.

    Args:
        factor: (n,).
        values: the reading, (n,), floats, or whole numbers for categories.

    Example:
        >>> import torch
        >>> up = torch.linspace(-1.0, 1.0, 100)
        >>> agreement(Factor(up), -up)
        ('Spearman', 1.0)
        >>> agreement(Factor(math.pi * up, period=2 * math.pi), (up + 0.5).remainder(2.0))
        ('circular', 1.0)
        >>> agreement(Factor((up > 0).long()), (up < 0).long())
        ('NMI', 1.0)
    """
    truth, found = factor.values.cpu().numpy(), values.numpy()
    # What does not vary follows nothing, and has neither ranks nor entropy.
    constant = np.ptp(truth) == 0 or np.ptp(found) == 0
    if factor.is_kind or not values.is_floating_point():
        first = truth if factor.is_kind else _bins(truth)
        second = _bins(found) if values.is_floating_point() else found
        score = (
            0.0 if constant else mutual_info_score(first, second) / mutual_info_score(first, first)
        )
        return "NMI", round(float(score), 12)
    if constant:
        return "circular" if factor.period else "Spearman", 0.0
    if factor.period:
        turned = truth % factor.period
        pairs = (_ranks(turned) - _ranks(found), _ranks(turned) + _ranks(found))
        value = max(abs(np.exp(1j * pair).mean()) ** 2 for pair in pairs)
        return "circular", round(float(value), 12)
    ranks = (scipy.stats.rankdata(truth), scipy.stats.rankdata(found))
    return "Spearman", round(float(abs(np.corrcoef(*ranks)[0, 1])), 12)


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
        each = {label: agreement(factor, one.factor.values) for label, one in read.items()}
        best = max(each, key=lambda label: each[label][1])
        measure, value = each[best]
        every = {label: number for label, (_, number) in each.items()}
        found[name] = Following(read[best].code, read[best].element, measure, value, every)
    return found
