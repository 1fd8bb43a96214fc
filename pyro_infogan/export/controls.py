"""The controls of a declaration as data for the page."""

import math
from functools import singledispatch
from typing import Any

from ..controls import Choice, Control, Dial, Linked, Panel, Slider, Switch
from ..infogan import InfoGAN

__all__ = ["described"]

_STEPS = 400
"""Of a slider from end to end."""


def described(gan: InfoGAN) -> list[dict[str, Any]]:
    """Each code as plain data: its shape, where it starts, and controls of its numbers.

    A code's numbers are counted through its event shape. A control has a ``label``, the places
    ``at`` which it sets numbers, and a ``kind``:

    - ``choice``: one of ``options``, each with a ``label`` and the ``values`` it sets;
    - ``switch``: the same with two options, off and on;
    - ``slider``: from ``low`` to ``high`` by ``step``, of which ``inside`` is the prior's range.
      Shown numbers times ``factor`` are the code's, and carry a ``unit``;
    - ``linked``: a slider of one number of several, ``among``, whose ``power`` sums to 1.

    Args:
        gan: whose codes; they may depend on each other.

    Raises:
        DataError: for a code that has no control.
    """
    panel = Panel(gan.prior)
    start = panel.codes([panel.start])
    return [
        {
            "name": name,
            "whole": not gan.prior.like(name).is_floating_point(),
            "shape": list(site.event_shape),
            "start": start[name].flatten().tolist(),
            "controls": _controls(panel.groups[name]),
        }
        for name, site in gan.prior.sites.items()
    ]


def _controls(groups: list[list[Control]]) -> list[dict[str, Any]]:
    """Those of one code, in the order of its numbers."""
    found, first = [], 0
    for group in groups:
        widths = [len(control.numbers(control.start)) for control in group]
        among = list(range(first, first + sum(widths)))
        for control, width in zip(group, widths, strict=True):
            at = list(range(first, first + width))
            found.append({"label": control.title, "at": at, **_described(control, among)})
            first += width
    return found


@singledispatch
def _described(control: Control, among: list[int]) -> dict[str, Any]:
    """What is the control's own; ``among`` are the numbers of those that move each other."""
    raise NotImplementedError(type(control).__name__)


@_described.register
def _(control: Choice, among: list[int]) -> dict[str, Any]:
    del among
    pairs = zip(control.labels, control.values, strict=True)
    options = [{"label": label, "values": list(values)} for label, values in pairs]
    return {"kind": "choice", "options": options}


@_described.register
def _(control: Switch, among: list[int]) -> dict[str, Any]:
    del among
    options = [
        {"label": control.said(on), "values": list(control.numbers(on))} for on in control.sweep(2)
    ]
    return {"kind": "switch", "options": options}


@_described.register
def _(control: Slider, among: list[int]) -> dict[str, Any]:
    del among
    step = 1.0 if control.whole else (control.high - control.low) / _STEPS
    return {"kind": "slider", "step": step, **_ends(control)}


@_described.register
def _(control: Linked, among: list[int]) -> dict[str, Any]:
    own = {"among": among, "power": control.power}
    return {
        "kind": "linked",
        "step": (control.high - control.low) / _STEPS,
        **own,
        **_ends(control),
    }


@_described.register
def _(control: Dial, among: list[int]) -> dict[str, Any]:
    del among
    return {"kind": "slider", "step": 1.0, **_ends(control, math.pi / 180, "°")}


def _ends(control: Slider, factor: float = 1.0, unit: str = "") -> dict[str, Any]:
    return {
        "low": control.low / factor,
        "high": control.high / factor,
        "inside": [end / factor for end in control.inside],
        "factor": factor,
        "unit": unit,
    }
