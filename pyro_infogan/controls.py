"""Controls that follow from a declaration: what a hand moves, and the codes that it means.

A control has a position: a number for a slider, a dial, a share or a coordinate, the index of a
category, on or off for a switch. :class:`Panel` has all controls of a declaration, and goes from
positions to codes and back.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import Distribution

from .codes import (
    CodePrior,
    base_support,
    element_of,
    is_angle,
    is_direction,
    is_share,
    least_and_greatest,
    reach,
)
from .errors import DataError

__all__ = [
    "Choice",
    "Control",
    "Coordinate",
    "Dial",
    "Panel",
    "Position",
    "Share",
    "Slider",
    "Switch",
]

Position = float | int | bool
"""Where a control is."""


@dataclass(frozen=True)
class Control:
    """A number of a code, or one category.

    Attributes:
        title: the code, or the number of it, as in ``style[1]``.
        start: where it is at first.
    """

    title: str
    start: Position

    def numbers(self, position: Position) -> tuple[float, ...]:
        """What a position means in the code's own numbers."""
        return (float(position),)

    def position(self, numbers: Sequence[float]) -> Position:
        """The way back."""
        return numbers[0]

    def sweep(self, count: int) -> list[Position]:
        """``count`` positions from one end to the other; of categories, all."""
        raise NotImplementedError

    def said(self, position: Position) -> str:
        """A position in a few letters."""
        return _text(position)


@dataclass(frozen=True)
class Slider(Control):
    """A number on a line, from ``low`` to ``high``, which may lie outside the prior's support.

    Attributes:
        low, high: the ends.
        inside: the ends of the prior's support, or where that has none its scale about the centre.
        whole: whether it takes whole numbers alone.
        about: the prior in a few words.
    """

    low: float
    high: float
    inside: tuple[float, float]
    whole: bool = False
    about: str = ""

    def position(self, numbers: Sequence[float]) -> Position:
        """The number itself, or the nearest whole one."""
        return round(numbers[0]) if self.whole else numbers[0]

    def sweep(self, count: int) -> list[Position]:
        """Evenly spaced."""
        values = torch.linspace(self.low, self.high, count).tolist()
        return list(dict.fromkeys(map(round, values))) if self.whole else values


@dataclass(frozen=True)
class Dial(Slider):
    """An angle in radians, from ``low`` once around to ``high``."""

    def position(self, numbers: Sequence[float]) -> Position:
        """The same direction, between the ends."""
        return self.low + (numbers[0] - self.low) % (2 * math.pi)

    def said(self, position: Position) -> str:
        """In degrees."""
        return f"{math.degrees(position):.0f}°".replace("-", "−")


@dataclass(frozen=True)
class Linked(Slider):
    """A number of several that hold each other: raised to a power, they sum to 1.

    Attributes:
        power: the power.
    """

    power: ClassVar[int]


@dataclass(frozen=True)
class Share(Linked):
    """One of the numbers of a simplex, which are 0 or more and sum to 1."""

    power: ClassVar[int] = 1


@dataclass(frozen=True)
class Coordinate(Linked):
    """One of the coordinates of a direction, whose squares sum to 1."""

    power: ClassVar[int] = 2


@dataclass(frozen=True)
class Choice(Control):
    """One of some categories.

    Attributes:
        values: the code's numbers for each category.
        labels: a text for each.
    """

    values: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]

    def numbers(self, position: Position) -> tuple[float, ...]:
        """Those of the category."""
        return self.values[int(position)]

    def position(self, numbers: Sequence[float]) -> Position:
        """The category whose numbers are nearest."""
        return min(range(len(self.values)), key=lambda kind: math.dist(self.values[kind], numbers))

    def sweep(self, count: int) -> list[Position]:
        """All of them."""
        del count
        return list(range(len(self.values)))

    def said(self, position: Position) -> str:
        """Its label."""
        return self.labels[int(position)]


@dataclass(frozen=True)
class Switch(Control):
    """On or off."""

    def position(self, numbers: Sequence[float]) -> Position:
        """Whether it is on."""
        return numbers[0] > 0.5

    def sweep(self, count: int) -> list[Position]:
        """Off, then on."""
        del count
        return [False, True]

    def said(self, position: Position) -> str:
        """As the code's number."""
        return str(int(position))


class Panel:
    """All controls of a declaration, in its order.

    Args:
        prior: the code prior.

    Attributes:
        controls: one for each number or category of each code.
        groups: the same by the code's name, those that move each other in one list.

    Raises:
        DataError: for a code of counts that hang together, such as a multinomial one.

    Example:
        >>> import pyro.distributions as dist
        >>> prior = CodePrior({"digit": dist.Categorical(torch.ones(3)), "on": dist.Bernoulli(0.5)})
        >>> panel = Panel(prior)
        >>> [type(control).__name__ for control in panel.controls], panel.start
        (['Choice', 'Switch'], [0, False])
        >>> panel.codes([[2, True], [1, True]])
        {'digit': tensor([2., 1.]), 'on': tensor([1., 1.])}
    """

    def __init__(self, prior: CodePrior) -> None:
        self._prior = prior
        self.groups: dict[str, list[list[Control]]] = {
            name: _groups(name, prior) for name in prior.sites
        }
        self.controls: tuple[Control, ...] = tuple(
            control for groups in self.groups.values() for group in groups for control in group
        )
        # Numbers that hold each other share a group, any other control has one of its own.
        self._group_of: list[range] = []
        for groups in self.groups.values():
            for group in groups:
                first = len(self._group_of)
                self._group_of += [range(first, first + len(group))] * len(group)

    @property
    def start(self) -> list[Position]:
        """Where the controls are at first."""
        return [control.start for control in self.controls]

    def codes(self, rows: Sequence[Sequence[Position]]) -> dict[str, Tensor]:
        """Codes (n, event shape) for n rows of positions, to be held."""
        width, columns = 0, {}
        for name, groups in self.groups.items():
            columns[name] = slice(width, width := width + sum(map(len, groups)))
        codes = {}
        for name, site in self._prior.sites.items():
            numbers = [self._numbers(name, row[columns[name]]) for row in rows]
            codes[name] = torch.tensor(numbers).reshape(len(rows), *site.event_shape)
        return codes

    def _numbers(self, name: str, positions: Sequence[Position]) -> list[float]:
        """The numbers of one code, side by side."""
        left = iter(positions)
        found: list[float] = []
        for group in self.groups[name]:
            here = [number for control in group for number in control.numbers(next(left))]
            found += _normalised(here, group[0].power) if isinstance(group[0], Linked) else here
        return found

    def positions(self, codes: Mapping[str, Tensor]) -> list[Position]:
        """Where the controls are for the codes (event shape) of one image."""
        found: list[Position] = []
        for name, groups in self.groups.items():
            numbers = codes[name].flatten().tolist()
            for control in (control for group in groups for control in group):
                width = len(control.numbers(control.start))
                found.append(control.position(numbers[:width]))
                numbers = numbers[width:]
        return found

    def beside(self, index: int) -> list[int]:
        """The controls that give way when one moves: what sums to 1 with it."""
        return [other for other in self._group_of[index] if other != index]

    def moved(self, positions: Sequence[Position], index: int, to: Position) -> list[Position]:
        """The positions after one control was moved, with those that give way."""
        moved = list(positions)
        moved[index] = to
        others, control = self.beside(index), self.controls[index]
        if isinstance(control, Linked):
            rest = _normalised([float(positions[other]) for other in others], control.power)
            left = max(0.0, 1.0 - abs(to) ** control.power) ** (1 / control.power)
            for other, share in zip(others, rest, strict=True):
                moved[other] = left * share
        return moved


def _normalised(numbers: Sequence[float], power: int) -> list[float]:
    """Numbers brought to where their powers sum to 1; equal ones, where all are 0."""
    size = sum(abs(number) ** power for number in numbers) ** (1 / power)
    even = max(len(numbers), 1) ** (-1 / power)
    return [number / size if size > 0 else even for number in numbers]


# From a prior to its controls


def _titles(name: str, count: int, several: bool) -> Iterator[str]:
    return (f"{name}[{index}]" if several else name for index in range(count))


def _groups(name: str, prior: CodePrior) -> list[list[Control]]:
    """Controls of one code, those that move each other in one list."""
    site = prior.sites[name]
    element = element_of(site)
    base: Any = base_support(site)
    if not base.is_discrete:
        return _on_lines(name, prior)
    if element.has_enumerate_support:
        return _kinds(name, site)
    if element.event_shape:
        raise DataError(
            f"code {name!r}",
            got=f"{type(element).__name__}, counts that hang together",
            expected="numbers or categories that can be moved one by one",
            fix="Generate it with values of your own: gan.generate(n, codes={...}).",
        )
    return _on_lines(name, prior)


def _kinds(name: str, prior: Distribution) -> list[list[Control]]:
    element = element_of(prior)
    support = element.enumerate_support()
    count = math.prod(element.batch_shape)
    boolean = isinstance(base_support(prior), type(constraints.boolean))
    titles = _titles(name, count, bool(element.batch_shape))
    # (K, elements, numbers of one category)
    values = support.reshape(len(support), count, -1).unbind(1)
    return [
        [Switch(title, False) if boolean else _choice(title, value)]
        for title, value in zip(titles, values, strict=True)
    ]


def _choice(title: str, values: Tensor) -> Control:
    rows = tuple(tuple(map(float, row)) for row in values.tolist())
    # A one-hot category has no number of its own.
    labels = [f"{row[0]:g}" if len(row) == 1 else str(kind) for kind, row in enumerate(rows)]
    return Choice(title, 0, rows, tuple(labels))


def _on_lines(name: str, prior: CodePrior) -> list[list[Control]]:
    site = prior.sites[name]
    ends = [*prior.unit(name), *prior.shown(name)]
    base = base_support(site)
    if base.is_discrete:
        make, ends = _count, [*ends, *least_and_greatest(site)]
    else:
        make = _dial if is_angle(site) else _line(reach(site))
    columns = [end.expand(site.event_shape).flatten().tolist() for end in ends]
    titles = _titles(name, math.prod(site.event_shape), bool(site.event_shape))
    made = [make(*each) for each in zip(titles, *columns, strict=True)]
    size = site.event_shape[-1] if is_share(site) or is_direction(site) else 1
    if is_direction(site):
        # Towards all axes alike: at the origin there is no direction.
        made = [replace(control, start=size**-0.5) for control in made]
    return [made[first : first + size] for first in range(0, len(made), size)]


def _dial(title: str, centre: float, scale: float, low: float, high: float) -> Control:
    del scale
    return Dial(title, centre, low, high, (low, high))


@singledispatch
def _line(base: constraints.Constraint) -> Callable[..., Control]:
    """What makes a control of title, centre, scale and ends, where it lies in this support."""
    del base
    return _number


@_line.register(type(constraints.simplex))
def _(base: Any) -> Callable[..., Control]:
    del base
    return lambda title, centre, scale, low, high: Share(title, centre, low, high, (low, high))


@_line.register(type(constraints.sphere))
def _(base: Any) -> Callable[..., Control]:
    del base
    return lambda title, centre, scale, low, high: Coordinate(title, centre, low, high, (low, high))


@_line.register(constraints.interval)
def _(base: Any) -> Callable[..., Control]:
    del base
    return lambda title, centre, scale, low, high: Slider(
        title,
        centre,
        low,
        high,
        (centre - scale, centre + scale),
        about=f"prior from {_text(centre - scale)} to {_text(centre + scale)}",
    )


def _number(title: str, centre: float, scale: float, low: float, high: float) -> Control:
    inside = max(low, centre - scale), min(high, centre + scale)
    return Slider(title, centre, low, high, inside, about=_about(centre, scale))


def _count(
    title: str,
    centre: float,
    scale: float,
    low: float,
    high: float,
    least: float,
    greatest: float,
) -> Control:
    low, high = max(least, math.floor(low)), min(greatest, math.ceil(high))
    start = min(max(round(centre), low), high)
    inside = max(low, centre - scale), min(high, centre + scale)
    return Slider(title, start, low, high, inside, True, _about(centre, scale))


def _about(centre: float, scale: float) -> str:
    return f"prior about {_text(centre)}, scale {_text(scale)}"


def _text(number: float) -> str:
    return f"{number:.3g}".replace("-", "−")
