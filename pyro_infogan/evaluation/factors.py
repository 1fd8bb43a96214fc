"""Which code follows which known factor: a number where the paper shows pictures."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from ..codes import element_of
from ..datasets import Factor, ImageSet
from ..errors import DataError
from ..infogan import InfoGAN
from .clustering import categories

__all__ = ["Following", "Reading", "agreement", "follow", "readings"]

_BINS = 10
"""Into how many equally full bins a number is put beside kinds."""


@dataclass(frozen=True)
class Reading:
    """What Q reads of one number, or one category, of a code from each image.

    Attributes:
        code: the code it belongs to.
        element: which number of a vector code; 0 of any other.
        values: (n,), Q's mean as floats, or its most probable category as whole numbers.
    """

    code: str
    element: int
    values: Tensor


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


def readings(gan: InfoGAN, images: Tensor) -> dict[str, Reading]:
    """Q's reading of every code, by label; vectors number by number, as in ``style[1]``.

    Joint posteriors are left out: they have no mean of one code alone.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W).

    Raises:
        DataError: for images that do not fit the declaration.
    """
    return {
        f"{name}[{element}]" if several else name: Reading(name, element, column.cpu())
        for name, columns, several in _columns(gan, images)
        for element, column in enumerate(columns)
    }


def _columns(gan: InfoGAN, images: Tensor) -> Iterator[tuple[str, tuple[Tensor, ...], bool]]:
    for name, posterior in gan.infer(images).items():
        if not isinstance(name, str):
            continue
        element = element_of(posterior)
        if gan.prior.is_discrete(name) and element.has_enumerate_support:
            values = categories(element)
        else:
            values = posterior.mean.float()
        several = values.dim() > 1
        yield name, values.flatten(1).unbind(1) if several else (values,), several


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
    too, and is taken for an angle. Where either takes kinds: the normalised mutual information
    (arithmetic mean of the entropies), a number being put into ten equally full bins.

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
    if factor.is_kind or not values.is_floating_point():
        first = truth if factor.is_kind else _bins(truth)
        second = _bins(found) if values.is_floating_point() else found
        return "NMI", round(float(normalized_mutual_info_score(first, second)), 12)
    if np.ptp(truth) == 0 or np.ptp(found) == 0:
        # A constant follows nothing, and has no ranks.
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
    if len(dataset) < 2:
        raise DataError("images", got=len(dataset), expected="2 or more", fix="Bring more.")
    if not dataset.factors:
        return {}
    return _followed(readings(gan, dataset.images), dataset.factors)


def _followed(found: Mapping[str, Reading], factors: Mapping[str, Factor]) -> dict[str, Following]:
    followed = {}
    for name, factor in factors.items():
        each = {label: agreement(factor, reading.values) for label, reading in found.items()}
        if not each:
            continue
        best = max(each, key=lambda label: each[label][1])
        measure, value = each[best]
        # Codes of both kinds are measured differently; the best of each kind would be two tables.
        every = {label: number for label, (_, number) in each.items()}
        reading = found[best]
        followed[name] = Following(reading.code, reading.element, measure, value, every)
    return followed
