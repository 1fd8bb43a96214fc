"""What tells a posterior: named numbers that a graph can compute of images, without any draw."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import AffineTransform, Distribution

from ..codes import Key, element_of, label, traced
from ..inference import parameters
from ..inference.joint import GuidePosterior

__all__ = ["Reading", "told"]

# Quantiles that tell mean and standard deviation of a distribution that has no formula for them.
_SHARES = (torch.arange(1_000) + 0.5) / 1_000
# Those of the standard normal, since ONNX has no inverse of its distribution function.
_STANDARD = torch.special.ndtri(_SHARES)


@dataclass(frozen=True)
class Reading:
    """Posteriors of a batch of images in numbers.

    Attributes:
        numbers: by name, as ``slant.loc``; each (n, *).
        families: name of the distribution of each code or joint of codes.
        left_out: why others have none.
    """

    numbers: dict[str, Tensor]
    families: dict[str, str]
    left_out: dict[str, str]


def told(posteriors: Mapping[Key, Distribution], codes: Mapping[str, Tensor]) -> Reading:
    """The numbers of posteriors, as ``infer`` names them.

    Args:
        posteriors: Q of n images.
        codes: values (n, event shape) of every code, which a guide is given; else not used.
    """
    reading = Reading({}, {}, {})
    for key, posterior in _apart(posteriors, codes).items():
        found = _numbers(posterior)
        if found is None:
            reading.left_out[label(key)] = "its posterior has no parameters, as a flow has none"
            continue
        family, numbers = found
        reading.families[label(key)] = family
        reading.numbers.update({f"{label(key)}.{name}": numbers[name] for name in numbers})
    return reading


def _apart(
    posteriors: Mapping[Key, Distribution], codes: Mapping[str, Tensor]
) -> Mapping[Key, Distribution]:
    """A guide as one posterior a code, each given the codes before it."""
    guide = next(iter(posteriors.values()))
    if not isinstance(guide, GuidePosterior):
        return posteriors
    sites = traced(poutine.condition(guide.program, dict(codes)), guide.features)
    return {name: sites[name]["fn"] for name in codes}


def _numbers(posterior: Any) -> tuple[str, dict[str, Tensor]] | None:
    """Name and parameters of a distribution; mean and deviation of a transformed one."""
    element = element_of(posterior)
    if isinstance(element, dist.TransformedDistribution):
        moments = _moments(element)
        return (type(element).__name__.strip("_"), moments) if moments else None
    if not element.arg_constraints and not isinstance(element, dist.MixtureSameFamily):
        return None
    family, numbers = parameters(element)
    # Another way to say the covariance, and one that ONNX has no operation for.
    numbers.pop("precision_matrix", None)
    return family, {name: value.float() for name, value in numbers.items()}


def _moments(posterior: Any) -> dict[str, Tensor] | None:
    transforms: list[Any] = []
    while isinstance(posterior, dist.TransformedDistribution):
        transforms = [*posterior.transforms, *transforms]
        posterior = element_of(posterior.base_dist)
    if all(isinstance(transform, AffineTransform) for transform in transforms):
        mean, stddev = posterior.mean, posterior.stddev
        for transform in transforms:
            mean, stddev = transform(mean), stddev * abs(transform.scale)
        return {"mean": mean, "stddev": stddev}
    if posterior.event_shape or (values := _quantiles(posterior)) is None:
        return None
    for transform in transforms:
        values = transform(values)
    return {"mean": values.mean(0), "stddev": values.std(0, correction=0)}


@singledispatch
def _quantiles(base: Any) -> Tensor | None:
    """Values (quantiles, *) of evenly spaced probability, where that is no lengthy matter."""
    del base


@_quantiles.register(dist.Normal)
def _(base: Any) -> Tensor:
    return base.loc + base.scale * _column(_STANDARD, base)


@_quantiles.register(dist.Uniform)
def _(base: Any) -> Tensor:
    return base.low + (base.high - base.low) * _column(_SHARES, base)


def _column(shares: Tensor, base: Any) -> Tensor:
    return shares.reshape(-1, *[1] * len(base.batch_shape))
