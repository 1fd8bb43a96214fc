"""Traversals: images in which one code varies, and noise and the other codes are held."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from .codes import (
    element_of,
    form_of,
    is_direction,
    is_share,
    least_and_greatest,
    placed,
)
from .errors import DataError, check_names
from .infogan import InfoGAN
from .randomness import seeded

if TYPE_CHECKING:
    from .evaluation import Clustering

__all__ = ["is_matched", "is_single", "traversals", "traversed", "values_of", "varies"]

# A tick is no further off than this part of the step between two of them.
_PARTS = 20


def traversals(gan: InfoGAN) -> list[tuple[str, int, str]]:
    """Every (code, element) that can be traversed, with a label for file names."""
    listed = []
    for name, prior in gan.prior.sites.items():
        if is_single(gan, name):
            listed.append((name, 0, name))
        elif varies(gan, name):
            count = math.prod(prior.event_shape)
            listed += [(name, element, f"{name}-{element}") for element in range(count)]
    return listed


def varies(gan: InfoGAN, name: str) -> bool:
    """Whether a code can be traversed: any but vectors of one-hot codes."""
    hot = gan.prior.is_discrete(name) and element_of(gan.prior.sites[name]).event_shape
    return is_single(gan, name) or not hot


def is_single(gan: InfoGAN, name: str) -> bool:
    """Whether a code is swept as a whole, not element by element."""
    return _is_enumerable(gan, name) or not gan.prior.sites[name].event_shape


def _is_enumerable(gan: InfoGAN, name: str) -> bool:
    """Whether a code takes one of a few categories, and is no vector of such."""
    prior = gan.prior.sites[name]
    vector = isinstance(prior, dist.Independent) and prior.event_shape
    return gan.prior.is_discrete(name) and prior.has_enumerate_support and not vector


def _has_order(prior: Distribution) -> bool:
    """Whether a code's values have an order of their own: all but those that are read one-hot."""
    return not (isinstance(form_of(prior), dist.Categorical) or element_of(prior).event_shape)


def is_matched(gan: InfoGAN, name: str, clusters: "Mapping[str, Clustering] | None" = None) -> bool:
    """Whether the values of a code go in the order of the labels matched to them."""
    unordered = _is_enumerable(gan, name) and not _has_order(gan.prior.sites[name])
    return unordered and name in (clusters or {})


def values_of(
    gan: InfoGAN,
    name: str,
    *,
    element: int = 0,
    span: tuple[float, float] | None = None,
    count: int = 9,
    clusters: "Mapping[str, Clustering] | None" = None,
) -> tuple[Tensor, Sequence[str]]:
    """The values a code steps through, and how to label them.

    Args:
        gan: an InfoGAN.
        name: the code.
        element: which number of a vector code.
        span: first and last value of a continuous code or a count; by default those of
            :meth:`~pyro_infogan.codes.CodePrior.shown`. Counts, shares and directions end where
            their support does.
        count: how many values of a continuous code, or of a count at most; a code that can be
            enumerated has all of its own.
        clusters: categories matched to labels, from ``evaluate``, to order categories by; counts
            and booleans keep their own order.

    Returns:
        Values (k,), or (k, event shape) of a one-hot code; and a text for each.

    Raises:
        DeclarationError: for a code that is not declared.
        DataError: for a vector of one-hot codes, or an element that is not there.
    """
    check_names("traversal", [name], gan.prior.sites)
    clusters = clusters or {}
    prior = gan.prior.sites[name]
    if _is_enumerable(gan, name):
        support = prior.enumerate_support()
        if not is_matched(gan, name, clusters):
            numbers = range(len(support)) if prior.event_shape else support.tolist()
            return support, [f"{number:g}" for number in numbers]
        order = clusters[name].order
        matched = [clusters[name].matching[category] for category in order]
        labels = ["–" if label is None else str(label) for label in matched]
        return support[torch.tensor(order, device=support.device)], labels
    elements = math.prod(prior.event_shape)
    if not 0 <= element < elements:
        raise DataError(
            f"element of code {name!r}",
            got=element,
            expected=f"0 to {elements - 1}",
            fix="Choose one it has.",
        )
    low, high = span or (end.reshape(-1)[element].item() for end in gan.prior.shown(name))
    if is_share(prior) or is_direction(prior):
        least, most = (end.reshape(-1)[element].item() for end in least_and_greatest(prior))
        low, high = (min(max(end, least), most) for end in (low, high))
    values = torch.linspace(low, high, count, device=gan.device)
    if not gan.prior.is_discrete(name):
        return values, _in_digits(values)
    base: Any = element_of(prior)
    if base.event_shape:
        raise DataError(
            f"code {name!r}",
            got=f"a vector of {type(base).__name__}",
            expected="a code whose elements are single categories or numbers",
            fix="Generate it with values of your own: gan.generate(n, codes={...}).",
        )
    if base.has_enumerate_support:
        values = base.enumerate_support().flatten(1)[:, element]
    else:
        least, greatest = (end.reshape(-1)[element].item() for end in least_and_greatest(prior))
        values = values.round().clamp(least, greatest).unique() + 0.0  # no −0
        values = values.to(gan.prior.like(name).dtype)
    return values, [f"{value:g}" for value in values.tolist()]


def _in_digits(values: Tensor) -> list[str]:
    """Evenly spaced numbers in three digits, or in as many as tell them apart."""
    numbers = values.tolist()
    close = abs(numbers[-1] - numbers[0]) / max(len(numbers) - 1, 1) / _PARTS
    short = [f"{number:.3g}" for number in numbers]
    off = max(abs(float(text) - number) for text, number in zip(short, numbers, strict=True))
    if off <= close and "e+" not in "".join(short):
        return short
    decimals = max(0, math.ceil(-math.log10(close))) if close else 3
    return [f"{round(number, decimals) + 0.0:.10g}" for number in numbers]


def traversed(
    gan: InfoGAN,
    name: str,
    values: Tensor,
    *,
    element: int = 0,
    rows: int = 10,
    seed: int = 0,
    clusters: "Mapping[str, Clustering] | None" = None,
) -> Tensor:
    """Images of one code at each value, in rows that keep their noise and other codes.

    Rows step through the categories of the other codes, so that each is seen.

    Args:
        gan: an InfoGAN.
        name: the code.
        values: of the code, (k,), or (k, event shape) of one that is swept as a whole.
        element: which number of a vector code they are of.
        rows: how many rows of fixed noise.
        seed: of noise and other codes; the caller's random state is left as it was.
        clusters: categories matched to labels, to order categories by.

    Returns:
        (rows · k, C, H, W) in [0, 1], row by row.

    Raises:
        DeclarationError, DataError: as :func:`values_of`, and for values that do not fit.
    """
    check_names("traversal", [name], gan.prior.sites)
    count = len(values)
    with seeded(seed):
        chosen = {}
        for other in gan.prior.sites:
            if other != name and _is_enumerable(gan, other):
                support, _ = values_of(gan, other, clusters=clusters)
                chosen[other] = support[torch.arange(rows, device=gan.device) % len(support)]
        # What depends on a category is drawn given it.
        noise, codes = gan.draw(rows, chosen)
        codes = {other: value.repeat_interleave(count, 0) for other, value in codes.items()}
        swept = values.repeat(rows, *[1] * (values.dim() - 1))
        if is_single(gan, name):
            codes[name] = swept
        else:
            codes[name] = placed(gan.prior.sites[name], codes[name], element, swept)
        return gan.generate(rows * count, codes, noise.repeat_interleave(count, 0))
