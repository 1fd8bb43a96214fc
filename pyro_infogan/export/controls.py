"""Controls that follow from a declaration: what a hand may move, as data for the page."""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, constraints

from ..codes import base_support, element_of, is_angle, unit
from ..infogan import InfoGAN

__all__ = ["described"]

# How far, in scales of the prior, a slider's band and its ends are from the middle: an interval's
# code may be moved twice as far as the prior goes, as in the paper's figures.
_INTERVAL, _ENDLESS = (1.0, 2.0), (2.0, 3.0)
_STEPS = 400


def described(gan: InfoGAN) -> list[dict[str, Any]]:
    """Each code as plain data: its shape, where it starts, and controls of its numbers.

    A code's numbers are counted through its event shape. A control has a ``label``, the places
    ``at`` which it sets numbers, and a ``kind``:

    - ``choice``: one of ``options``, each with a ``label`` and the ``values`` it sets;
    - ``switch``: the same with two options, off and on;
    - ``slider``: from ``low`` to ``high`` by ``step``, of which ``inside`` is the prior's range.
      Shown numbers times ``factor`` are the code's, and carry a ``unit``;
    - ``share``: a slider of one number of several, ``among``, that sum to 1.

    Args:
        gan: whose codes; they may depend on each other.
    """
    described = []
    for name, prior in gan.prior.sites.items():
        start = _start(gan, name)
        described.append(
            {
                "name": name,
                "whole": not gan.prior.draw(1)[name].is_floating_point(),
                "shape": list(prior.event_shape),
                "start": start,
                "controls": list(_controls(name, prior, start)),
            }
        )
    return described


def _start(gan: InfoGAN, name: str) -> list[float]:
    """The first category, or the prior's middle."""
    prior: Any = gan.prior.sites[name]
    if not gan.prior.is_discrete(name):
        centre, _ = _units(prior)
        return centre
    element = element_of(prior)
    if element.has_enumerate_support:
        return element.enumerate_support()[0].flatten().tolist()
    return [float(round(value)) for value in _units(prior)[0]]


def _controls(name: str, prior: Distribution, start: list[float]) -> Iterator[dict[str, Any]]:
    """Those of one code, in the order of its numbers."""
    element: Any = element_of(prior)
    count, width = len(start), element.event_shape.numel()
    support = base_support(prior)
    for first in range(0, count, width):
        at = list(range(first, first + width))
        label = name if width == count else f"{name}[{first // width}]"
        if support.is_discrete and element.has_enumerate_support:
            boolean = isinstance(support, type(constraints.boolean))
            yield _choice("switch" if boolean else "choice", label, at, _options(element, first))
        elif isinstance(support, type(constraints.simplex)):
            for place in at:
                yield _share(f"{name}[{place}]", place, at)
        else:
            for place in at:
                title = name if count == 1 else f"{name}[{place}]"
                yield _slider(title, place, prior, start[place])


def _options(element: Any, first: int) -> list[list[float]]:
    """The values that one element of a code takes, each as numbers side by side."""
    listed: Tensor = element.enumerate_support()
    rows = listed.reshape(len(listed), -1, element.event_shape.numel())
    return rows[:, first // rows.shape[-1]].tolist()


def _choice(kind: str, label: str, at: list[int], options: list[list[float]]) -> dict[str, Any]:
    alone = len(at) == 1
    named = [
        {"label": f"{values[0]:g}" if alone else str(index), "values": values}
        for index, values in enumerate(options)
    ]
    return {"kind": kind, "label": label, "at": at, "options": named}


def _share(label: str, place: int, among: list[int]) -> dict[str, Any]:
    ends = {"low": 0.0, "high": 1.0, "inside": [0.0, 1.0], "step": 1 / _STEPS}
    return {"kind": "share", "label": label, "at": [place], "among": among, **_numbers(ends)}


def _slider(label: str, place: int, prior: Distribution, start: float) -> dict[str, Any]:
    centre, scale = (ends[place] for ends in _units(prior))
    slider = {"kind": "slider", "label": label, "at": [place]}
    if is_angle(prior):
        middle, turn = math.degrees(centre), 180.0
        ends = {"low": middle - turn, "high": middle + turn, "step": 1.0}
        inside = [middle - turn, middle + turn]
        return {**slider, **_numbers({**ends, "inside": inside}, math.pi / 180, "°")}
    support = base_support(prior)
    band, reach = _INTERVAL if isinstance(support, constraints.interval) else _ENDLESS
    low, high, step = centre - reach * scale, centre + reach * scale, 2 * reach * scale / _STEPS
    if support.is_discrete:
        least = float(getattr(support, "lower_bound", -math.inf))
        low, high, step = max(least, math.floor(low)), max(math.ceil(high), start + 1), 1.0
    inside = [max(low, centre - band * scale), min(high, centre + band * scale)]
    return {**slider, **_numbers({"low": low, "high": high, "inside": inside, "step": step})}


def _numbers(ends: dict[str, Any], factor: float = 1.0, unit: str = "") -> dict[str, Any]:
    return {**ends, "factor": factor, "unit": unit}


def _units(prior: Distribution) -> tuple[list[float], list[float]]:
    """Centre and scale of each number."""
    shape = prior.event_shape
    centre, scale = (part.expand(shape).flatten().tolist() for part in unit(prior))
    return centre, scale
