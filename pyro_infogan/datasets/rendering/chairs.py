"""Chairs of many kinds: what sets them apart, their distance, and their shading.

A chair faces z. It always has all its parts: a seat, legs, bars between them or on the floor, a
back with an opening and slats in the opening, arms with an opening behind their posts. What a kind
of chair lacks is given so little thickness that nothing is left of it, so that all kinds are one
formula, and are drawn side by side.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .marching import Camera, Shape, compose, march, normals

__all__ = ["LIGHT", "VERSION", "draw", "render"]

VERSION = 1
"""Of this code: pictures that another version drew are drawn anew."""

LIGHT = (-0.55, 0.65, 0.524)
"""Direction of the light as the camera sees it: to the right, up, and towards the camera."""

_ABSENT = -0.5
"""Half the thickness of what is not there."""
_NOWHERE = 9.0
_GRASP = 0.06
"""How far from a surface others shade it."""

_WIDTHS = (0.24, 0.5)
_REACH = 0.8
"""The farthest that anything is from the axis to the left and right: with the widest seat it is in
the unit sphere."""

_FOUR, _SPLAYED, _SLED, _CANTILEVER, _COLUMN, _PANELS = range(6)
_SLAB, _SHELL, _FRAME, _SLATS, _LADDER, _RAIL = range(6)
_NO_ARMS, _OPEN_ARMS, _SIDES = range(3)


@dataclass(frozen=True)
class _Draws:
    """Draws for ``n`` chairs at once, each (n,)."""

    n: int
    generator: Generator

    def between(self, least: float, most: float) -> Tensor:
        return least + (most - least) * torch.rand(self.n, generator=self.generator)

    def chance(self, probability: float) -> Tensor:
        return torch.rand(self.n, generator=self.generator) < probability

    def kind(self, *weights: float) -> Tensor:
        """Whole numbers from 0, as often as their weights say."""
        return torch.multinomial(
            torch.tensor(weights, dtype=torch.float32), self.n, True, generator=self.generator
        )


def draw(n: int, generator: Generator) -> dict[str, Tensor]:
    """The numbers of ``n`` chairs and of the cameras that see them, each (n,), on the CPU.

    Factors are ``azimuth`` in radians, ``width``, half the seat's, and the kinds ``legs`` (four,
    splayed, sled, cantilever, column, panels), ``back`` (slab, shell, frame, slats, ladder, rail)
    and ``arms`` (none, open, sides). Azimuth and width are drawn apart from all else, and width
    alone scales what lies to the left and right. Lengths are in radii of the unit sphere.
    """
    draws = _Draws(n, generator)
    between, chance = draws.between, draws.chance
    numbers = {
        "azimuth": between(0, 2 * math.pi),
        "elevation": between(0.15, 0.5),
        "width": between(*_WIDTHS),
        "legs": draws.kind(4, 3, 2, 2, 3, 1.5),
        "back": draws.kind(3, 3, 2, 3, 2, 2),
        "arms": draws.kind(3, 2, 1),
        "upper_shade": between(0.1, 0.85),
        "lower_shade": between(0.05, 0.7),
    }
    # Before it is made to fit: heights from the floor up, and half the depth.
    leg, depth = between(0.5, 0.75), between(0.3, 0.42)
    thick = torch.where(chance(0.3), between(0.05, 0.09), between(0.02, 0.04))
    rise = torch.where(chance(0.25), between(0.28, 0.45), between(0.5, 0.9))
    recline = between(-0.02, 0.28)
    floor = (leg + 2 * thick + rise) / 2
    reach = torch.maximum(
        torch.hypot(floor, depth + 0.05), torch.hypot(floor, depth + recline * rise)
    )
    fit = _REACH * between(0.88, 1.0) / reach
    leg, depth, thick, rise, floor = (length * fit for length in (leg, depth, thick, rise, floor))

    numbers |= {"depth": depth, "floor": floor, "thick": thick, "seat": leg + thick - floor}
    numbers |= _seat_numbers(draws, numbers)
    numbers |= _leg_numbers(draws, numbers, leg)
    numbers |= _back_numbers(draws, numbers, rise) | {"recline": recline}
    return numbers | _arm_numbers(draws, numbers, rise)


def _seat_numbers(draws: _Draws, numbers: Shape) -> dict[str, Tensor]:
    """Its corners seen from above, and its edges: sharp, or a cushion's."""
    cushion = draws.chance(0.4)
    edge = torch.where(cushion, 0.9 * numbers["thick"], torch.full_like(numbers["thick"], 0.008))
    corner = torch.where(draws.chance(0.3), draws.between(0.14, 0.23), draws.between(0.01, 0.05))
    return {"seat_edge": edge, "seat_corner": torch.maximum(corner, edge)}


def _leg_numbers(draws: _Draws, numbers: Shape, leg: Tensor) -> dict[str, Tensor]:
    """Legs that reach from the floor into the seat, and bars in two directions."""
    between, legs = draws.between, numbers["legs"]
    depth, thick = numbers["depth"], numbers["thick"]
    column, panels, splayed = legs == _COLUMN, legs == _PANELS, legs == _SPLAYED
    cantilever = legs == _CANTILEVER
    on_floor = (legs == _SLED) | cantilever | column
    stretched = ((legs == _FOUR) | splayed) & draws.chance(0.4)

    half = torch.where(column, between(0.03, 0.055), between(0.018, 0.04))
    inset = half + torch.where(splayed, between(0.05, 0.12), between(0.0, 0.04))
    leg_z = torch.where(column | panels, 0.0, depth - inset)
    splay = torch.where(splayed, between(0.08, 0.22), 0.0)
    bar = torch.where(on_floor, half * between(0.7, 1.0), between(0.012, 0.018))
    star = depth * between(0.7, 0.95)
    low = torch.where(on_floor, bar, leg * between(0.25, 0.6))
    return {
        "leg_middle": (leg + thick) / 2 - numbers["floor"],
        "leg_half": (leg + thick) / 2,
        # From the outside of the seat; a column stands in the middle whatever the width.
        "leg_spread": torch.where(column, 0.0, 1.0),
        "leg_inset": torch.where(column, 0.0, inset),
        "leg_x_half": half,
        "leg_z": leg_z,
        "leg_z_half": torch.where(panels, depth * between(0.75, 1.0), half),
        "splay_x": splay,
        "splay_z": splay * between(0.4, 1.0),
        # A cantilever has no legs behind, only a bar.
        "turn": torch.where(cantilever, 1.0, -1.0),
        "bar_y": low - numbers["floor"],
        "bar_half": bar,
        "along_half": torch.where(on_floor | stretched, bar, _ABSENT),
        "along_z": torch.where(column, star, leg_z + half),
        "across_half": torch.where(
            column | cantilever | (stretched & draws.chance(0.6)), bar, _ABSENT
        ),
        "across_z": torch.where(cantilever, -leg_z, leg_z),
        "across_star": torch.where(column, star, 0.0),
    }


def _back_numbers(draws: _Draws, numbers: Shape, rise: Tensor) -> dict[str, Tensor]:
    """A board, bent round the back or not, with an opening."""
    between, back = draws.between, numbers["back"]
    whole = (back == _SLAB) | (back == _SHELL)
    slats, ladder, rail = back == _SLATS, back == _LADDER, back == _RAIL
    # A board may begin above the seat; others stand on it.
    gap = torch.where(whole & draws.chance(0.25), between(0.03, 0.12), 0.0)
    gap = torch.where(gap > 0, gap, -1.9 * numbers["thick"])
    half = (rise - gap) / 2
    rim = between(0.03, 0.06)
    top = torch.where(rail, between(0.1, 0.16).minimum(rise * 0.6), rim)
    # Without a lower rail the opening goes down to the seat.
    bottom = torch.where(rail | ladder | draws.chance(0.4), 0.0, rim)
    opening = (rise - top - bottom) / 2
    seat_top = numbers["seat"] + numbers["thick"]
    bent = torch.where(draws.chance(0.3), between(0.1, 0.2), 0.0)
    corner = torch.where(draws.chance(0.4), between(0.08, 0.2), between(0.01, 0.04))
    return {
        "back_y": seat_top + rise - half,
        "back_half": half,
        "back_inset": torch.where(draws.chance(0.25), between(0.02, 0.06), 0.0),
        "board": torch.where(whole, between(0.02, 0.055), between(0.016, 0.03)),
        "bent": torch.where(back == _SHELL, between(0.2, 0.45), bent),
        "corner": corner.minimum(half * 0.9),
        "rim": rim,
        "opening_y": seat_top + bottom + opening,
        "opening_half": torch.where(whole, _ABSENT, opening),
        "slat_half": torch.where(slats | ladder, between(0.012, 0.022), _ABSENT),
        "slat_step": torch.where(slats, between(0.085, 0.13), between(0.13, 0.2)),
        "slat_upright": torch.where(slats, 1.0, 0.0),
    }


def _arm_numbers(draws: _Draws, numbers: Shape, rise: Tensor) -> dict[str, Tensor]:
    """A board on each side, of which an opening leaves a rest and a post, or nothing."""
    between, arms, depth = draws.between, numbers["arms"], numbers["depth"]
    opened, panels = arms == _OPEN_ARMS, numbers["legs"] == _PANELS
    seat, thick = numbers["seat"], numbers["thick"]
    top = seat + thick + between(0.2, 0.32).minimum(rise * 0.75)
    bottom = torch.where((arms == _SIDES) & panels, -numbers["floor"], seat - thick)
    front = depth * between(0.55, 1.0)
    bar = between(0.035, 0.06)
    half = torch.where(opened, between(0.016, 0.03), between(0.025, 0.06))
    return {
        "arm_half": torch.where(arms == _NO_ARMS, _ABSENT, half),
        "arm_y": (top + bottom) / 2,
        "arm_y_half": (top - bottom) / 2,
        "arm_z": (front - depth) / 2,
        "arm_z_half": (front + depth) / 2,
        "arm_under": torch.where(opened, top - bar, -_NOWHERE),
        "arm_behind": torch.where(opened, front - bar, -_NOWHERE),
    }


def _shape(numbers: Shape) -> dict[str, Tensor]:
    """What the distance is computed from: all that does not depend on the point, worked out."""
    width = numbers["width"]
    own = dict(numbers)
    own["leg_x"] = width * numbers["leg_spread"] - numbers["leg_inset"]
    own["across_x"] = own["leg_x"] + numbers["across_star"]
    own["back_x"] = width - numbers["back_inset"]
    own["back_z"] = numbers["board"] - numbers["depth"]
    own["opening_x"] = own["back_x"] - numbers["rim"]
    own["bend"] = numbers["bent"] / width
    own["seat_x"] = width - numbers["seat_corner"]
    own["seat_z"] = numbers["depth"] - numbers["seat_corner"]
    own["leg_scale"] = _scale(numbers["splay_x"], numbers["splay_z"])
    own["back_scale"] = _scale(numbers["recline"], 2 * numbers["bent"])
    for name in ("azimuth", "elevation", "legs", "back", "arms", "floor"):
        del own[name]
    return own


def _scale(slope: Tensor, other: Tensor) -> Tensor:
    """By how much two shears at right angles may bring points closer together."""
    both = (slope * slope + other * other).sqrt()
    return 2 / (both + (both * both + 4).sqrt())


# The distance is all that takes time. What its parts return is theirs to change, and changing it in
# place takes half as long as making another.


def _beside(value: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    """Distance of what lies within ``half`` of ``middle`` along an axis."""
    return (value - middle).abs_().sub_(half)


def _common(first: Tensor, *others: Tensor) -> Tensor:
    """What lies in all of them; takes the first."""
    for other in others:
        torch.maximum(first, other, out=first)
    return first


def _any(first: Tensor, *others: Tensor) -> Tensor:
    """What lies in any of them; takes the first."""
    for other in others:
        torch.minimum(first, other, out=first)
    return first


def _rounded(a: Tensor, b: Tensor, radius: Tensor) -> Tensor:
    """What lies in both, with the edge between the two rounded; takes both."""
    a.add_(radius)
    b.add_(radius)
    inside = torch.maximum(a, b).clamp_(max=0).sub_(radius)
    a.clamp_(min=0).square_()
    b.clamp_(min=0).square_()
    return a.add_(b).sqrt_().add_(inside)


def _distances(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """To what is padded, seat and back, and to what holds it, legs and arms."""
    x = x.abs()  # Chairs are symmetric.
    above = y - shape["seat"]

    plan = _rounded(x - shape["width"], z.abs().sub_(shape["depth"]), shape["seat_corner"])
    seat = _rounded(plan, above.abs().sub_(shape["thick"]), shape["seat_edge"])

    fore = torch.maximum(z, z * shape["turn"])
    legs = _common(
        _beside(above * shape["splay_x"] + x, shape["leg_x"], shape["leg_x_half"]),
        _beside(above * shape["splay_z"] + fore, shape["leg_z"], shape["leg_z_half"]),
        _beside(y, shape["leg_middle"], shape["leg_half"]),
    )
    along = _common(_beside(x, shape["leg_x"], shape["along_half"]), z.abs().sub_(shape["along_z"]))
    across = _common(_beside(fore, shape["across_z"], shape["across_half"]), x - shape["across_x"])
    bars = _common(_any(along, across), _beside(y, shape["bar_y"], shape["bar_half"]))

    outline = _rounded(
        x - shape["back_x"], _beside(y, shape["back_y"], shape["back_half"]), shape["corner"]
    )
    # Less the opening, but with the slats.
    high = y - shape["opening_y"]
    beside = torch.minimum(shape["opening_x"] - x, shape["opening_half"] - high.abs())
    turns = torch.lerp(high, x, shape["slat_upright"]).div_(shape["slat_step"])
    slats = (turns - turns.round()).abs_().mul_(shape["slat_step"]).sub_(shape["slat_half"])
    inner = torch.minimum(x, shape["width"]).square_().mul_(shape["bend"])
    deep = (above * shape["recline"]).add_(z).sub_(inner)
    back = _common(outline, _any(beside, slats), _beside(deep, shape["back_z"], shape["board"]))

    opened = torch.minimum(shape["arm_under"] - y, shape["arm_behind"] - z)
    arms = _common(
        _beside(x, shape["width"], shape["arm_half"]),
        _beside(y, shape["arm_y"], shape["arm_y_half"]),
        _beside(z, shape["arm_z"], shape["arm_z_half"]),
        opened,
    )
    padded = _any(seat, back.mul_(shape["back_scale"]))
    return padded, _any(legs.mul_(shape["leg_scale"]), bars, arms)


def _distance(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return _any(*_distances(shape, x, y, z))


def render(numbers: Shape, size: int, light: tuple[float, float, float] = LIGHT) -> Tensor:
    """Grey pictures of chairs before white.

    Args:
        numbers: those of :func:`draw`, (n,), on the device to draw on.
        size: height and width, a multiple of 4.
        light: unit vector towards the light, as the camera sees it: right, up, nearer.

    Returns:
        (n, 1, size, size), uint8.
    """
    camera = Camera(numbers["azimuth"], numbers["elevation"])
    shape = _shape(numbers)
    seen = march(_distance, shape, camera, size)
    nx, ny, nz = normals(_distance, seen, 0.01)
    lx, ly, lz = (part[seen.image] for part in camera.outward(*light))
    facing = (nx * lx + ny * ly + nz * lz).clamp(min=0)
    x, y, z = seen.x + _GRASP * nx, seen.y + _GRASP * ny, seen.z + _GRASP * nz
    free = ((_distance(seen.shape, x, y, z) - seen.distance) / _GRASP).clamp(0, 1)

    padded, held = _distances(seen.shape, seen.x, seen.y, seen.z)
    shade = torch.where(padded < held, seen.shape["upper_shade"], seen.shape["lower_shade"])
    bright = shade * (0.4 + 0.6 * free) * (0.45 + 0.75 * facing)
    white = torch.ones_like(numbers["azimuth"])[:, None]
    return compose(seen, bright.clamp(max=1)[:, None], white, size)
