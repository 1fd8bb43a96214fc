"""Human heads: what sets them apart, their distance, and the paint that makes them faces.

A head looks along z; its crown is at y = 0.85, its eyes about y = 0, and the picture cuts off its
neck. Only what stands out in profile is a body of its own. Sockets, cheeks and lips are swellings
of the surface, and what is hardly a pixel of a small picture, such as irises and the rims of
glasses, is painted on by where on the front of the head it lies.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from .marching import Camera, Distance, Seen, Shape, compose, march, normals

__all__ = [
    "FACES",
    "PORTRAITS",
    "VERSION",
    "draw_faces",
    "draw_portraits",
    "render_faces",
    "render_portraits",
]

VERSION = 1
"""Of this code: pictures that another version drew are drawn anew."""

Ranges = Mapping[str, tuple[float, float]]
"""Of numbers by name, the least and the most of each."""

_IDENTITY: Ranges = {
    "width": (0.8, 1.2),
    "apart": (0.185, 0.235),
    "eyes": (0.85, 1.2),
    "nose": (0.0, 0.06),
    "nostrils": (0.8, 1.35),
    "chin": (0.0, 1.0),
    "ears": (0.7, 1.2),
    "brow": (0.2, 1.2),
    "lips": (0.8, 1.3),
}
"""What sets heads apart: all sizes relative to the usual one, but how far the eyes are from the
middle and how much longer than the shortest the nose is, in radii of the unit sphere, and a chin
from weak to strong."""

FACES: Ranges = {
    **_IDENTITY,
    "azimuth": (-1.2, 1.2),
    "elevation": (-0.5, 0.5),
    "lighting": (-1.3, 1.3),
    "tone": (0.0, 1.0),
}
"""Angles are in radians, that of the light from the camera to the right; skin from dark to light.
"""

PORTRAITS: Ranges = {
    **_IDENTITY,
    "width": (0.9, 1.1),
    "azimuth": (-1.0, 1.0),
    "elevation": (-0.12, 0.12),
    "lighting": (-0.5, 0.5),
    "hair": (0.0, 1.0),
    "smile": (-1.0, 1.0),
    "skin": (0.0, 1.0),
    "background": (0.0, 2 * math.pi),
    "hair_colour": (0.0, 1.0),
}
"""Hair from none to long, the mouth from stern to smiling, skin from dark to light, the background
once round the hues, hair from black over brown to blond."""

_EYE = 0.01
"""Height of the eyes."""
_MOUTH = -0.43
"""Height of the line between the lips."""
_GRASP = 0.12
"""How far from a surface others shade it."""

_DARK_SKIN, _LIGHT_SKIN = (0.40, 0.24, 0.16), (0.97, 0.79, 0.67)
_BLACK_HAIR, _BROWN_HAIR, _BLOND_HAIR = (0.06, 0.05, 0.06), (0.34, 0.18, 0.09), (0.90, 0.72, 0.36)
_LIP = (0.8, 0.38, 0.42)
_RIM = (0.04, 0.04, 0.06)


def draw_faces(n: int, generator: Generator) -> dict[str, Tensor]:
    """The numbers of ``FACES``, each (n,), drawn evenly and apart from one another."""
    return _even(FACES, n, generator)


def draw_portraits(n: int, generator: Generator) -> dict[str, Tensor]:
    """The numbers of ``PORTRAITS``, as faces are drawn, and ``glasses``: 0, or as often 1."""
    numbers = _even(PORTRAITS, n, generator)
    return numbers | {"glasses": torch.randint(2, (n,), generator=generator)}


def _even(ranges: Ranges, n: int, generator: Generator) -> dict[str, Tensor]:
    return {
        name: low + (high - low) * torch.rand(n, generator=generator)
        for name, (low, high) in ranges.items()
    }


def _shape(numbers: Shape) -> dict[str, Tensor]:
    """What the distance of a bald head is computed from."""
    own = {name: numbers[name] for name in _IDENTITY}
    return own | {"scale": own["width"].clamp(max=1)}


def _hairy(numbers: Shape) -> dict[str, Tensor]:
    """What the distance of a head with hair is computed from."""
    hair = numbers["hair"]
    return _shape(numbers) | {
        # Below the skin where there is none.
        "thick": torch.minimum(0.5 * hair - 0.05, 0.04 + 0.05 * hair),
        # Where it ends above the face: it grows from the back of the head to the forehead.
        "line": (1.2 * hair - 0.4).clamp(max=0.02),
        "low": 0.3 - 1.3 * ((hair - 0.2) / 0.8).clamp(min=0),
    }


def _squares(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.addcmul(torch.addcmul(x * x, y, y), z, z)


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: float, ry: float, rz: float) -> Tensor:
    """Nearly the distance to an ellipsoid about the origin."""
    x, y, z = x * (1 / rx), y * (1 / ry), z * (1 / rz)
    inner = _squares(x, y, z).sqrt()
    slope = _squares(x * (1 / rx), y * (1 / ry), z * (1 / rz)).clamp(min=1e-6).rsqrt()
    return inner * (inner - 1) * slope


def _join(a: Tensor, b: Tensor, fillet: float) -> Tensor:
    """Union, with the crease between the two filled."""
    deep = (fillet - (a - b).abs()).clamp(min=0)
    return torch.addcmul(torch.minimum(a, b), deep, deep, value=-0.25 / fillet)


def _spot(x: Tensor, y: Tensor, width: float, height: float) -> Tensor:
    """A soft spot about the origin: 1 in its middle, 0 from twice ``width`` and ``height`` on."""
    # No bell curve: its far tails would be denormal numbers, a hundred times slower.
    x, y = x * (0.5 / width), y * (0.5 / height)
    left = (1 - torch.addcmul(x * x, y, y)).clamp(min=0)
    left = left * left
    return left * left


def _head(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The distance to a bald head."""
    x = x.abs() / shape["width"]  # Heads are symmetric.
    skull = _ellipsoid(x, y - 0.2, z + 0.1, 0.56, 0.64, 0.68)
    face = _ellipsoid(x, y + 0.22, z - 0.16, 0.42, 0.54, 0.42)
    head = _join(skull, face, 0.2)

    chin = shape["chin"]
    head = _join(
        head, _squares(x, y + 0.6 + 0.06 * chin, z - 0.36 - 0.08 * chin).sqrt() - 0.16, 0.28
    )

    behind = z - 0.25 * y - 0.07
    neck = torch.maximum(torch.addcmul(x * x, behind, behind).sqrt() - 0.32, (y + 0.8).abs() - 0.35)
    head = _join(head, neck, 0.22)

    # From the tip up to the bridge, which begins between the eyes: thinner on the way.
    run = shape["nose"] + 0.09
    rise = 0.26
    up, out = y + 0.22, z - 0.5 - run
    part = ((up * rise - out * run) / (run * run + rise * rise)).clamp(0, 1)
    nose = _squares(x / shape["nostrils"], up - part * rise, out + part * run).sqrt()
    head = _join(head, nose + 0.055 * part - 0.1, 0.08)

    out, ears = x - 0.55, shape["ears"]
    ear = _ellipsoid(out, (y + 0.02) / ears, (z + 0.06) / ears + 0.3 * out, 0.07, 0.17, 0.1)
    head = _join(head, ear, 0.04)

    apart = x - shape["apart"]
    swell = (
        shape["brow"] * 0.035 * _spot(apart, y - 0.17, 0.17, 0.07)
        - 0.06 * _spot(apart, y - _EYE, 0.13, 0.085)
        + 0.03 * _spot(apart - 0.04, y + 0.2, 0.12, 0.12)
        + shape["lips"] * 0.025 * _spot(x, y - _MOUTH, 0.14, 0.07)
    )
    # Only in front.
    return torch.addcmul(head, swell, (4 * z).clamp(0, 1), value=-1) * shape["scale"]


def _hair(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The distance to the hair: a cap, and what hangs from it, all behind the hairline."""
    x = x / shape["width"]
    cap = _ellipsoid(x, y - 0.2, z + 0.1, 0.56, 0.64, 0.68) - shape["thick"]
    flat = (z + 0.16) * 1.15
    hanging = torch.addcmul(x * x, flat, flat).sqrt() - 0.59 - shape["thick"]
    hanging = torch.maximum(hanging, torch.maximum(shape["low"] - y, y - 0.3))
    line = (z - 0.7 * y - shape["line"]) * 0.82
    return torch.maximum(_join(cap, hanging, 0.1), line) * shape["scale"]


def _haired(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return torch.minimum(_head(shape, x, y, z), _hair(shape, x, y, z))


def _within(value: Tensor, edge: float | Tensor, soft: float) -> Tensor:
    """1 where ``value`` is less than ``edge``, 0 where it is more, and a ramp ``soft`` wide."""
    return ((edge - value) / soft + 0.5).clamp(0, 1)


def _mix(base: Tensor, paint: float | Tensor, amount: Tensor) -> Tensor:
    """Paint of one shade or (r, C) or (C,), by amounts (r,) over colours (r, C)."""
    return base + (paint - base) * amount[:, None]


@dataclass(frozen=True)
class _Front:
    """Where on the front of the head it is what rays met.

    Attributes:
        x: (r,), from the middle to either side, in a head of the usual width.
        y: (r,), height.
        apart: (r,), from the middle of the eye outwards.
        front: (r,), 1 on the face, 0 on the sides and behind.
        shape: the numbers of the ray's image, each (r,).
    """

    x: Tensor
    y: Tensor
    apart: Tensor
    front: Tensor
    shape: Shape

    def brows(self) -> Tensor:
        """How much of a brow is at each point (r,)."""
        height = self.y - 0.17 + 0.3 * self.apart.abs()
        return _spot(self.apart - 0.01, height, 0.13, 0.035) * self.front

    def eyes(self, skin: Tensor) -> Tensor:
        """Skin (r, C) with eyes."""
        y, eyes = self.y - _EYE, self.shape["eyes"]
        white = torch.hypot(self.apart / 0.105, y / 0.06)
        skin = _mix(skin, 0.85, _within(white, eyes, 0.4) * self.front)
        iris = torch.hypot(self.apart, y)
        return _mix(skin, 0.05, _within(iris, 0.05 * eyes, 0.04) * self.front)

    def mouth(self, skin: Tensor, smile: Tensor) -> Tensor:
        """Skin (r, 3) with a mouth: its corners go up and its lips apart as it smiles (r,)."""
        half = 0.21 + 0.04 * smile
        along = (self.x / half).square()
        height = self.y - _MOUTH - 0.13 * smile * (along - 0.45)
        shut = (1.15 - along).clamp(min=0).sqrt()
        gap = 0.055 * smile.clamp(min=0) * shut
        lips = _within(height.abs(), gap + 0.05 * self.shape["lips"] * shut, 0.05)
        inside = self.front * _within(along, 1.15, 0.3)
        skin = _mix(skin, skin * skin.new_tensor(_LIP), lips * inside)
        return _mix(skin, 0.95, _within(height.abs(), gap, 0.04) * inside * (gap > 0))

    def glasses(self, skin: Tensor, z: Tensor, worn: Tensor) -> Tensor:
        """Skin (r, 3) behind glasses, where they are worn (r,): 0 or 1."""
        y = self.y - _EYE
        lens = torch.hypot(self.apart / 0.16, y / 0.13)
        skin = _mix(skin, 0.1, 0.35 * worn * _within(lens, 1.0, 0.2) * self.front)
        rim = _within((lens - 1).abs(), 0.18, 0.15) * self.front
        bridge = _within((y - 0.04).abs(), 0.025, 0.03) * _within(self.x, 0.1, 0.05) * self.front
        bow = _within((y - 0.05).abs(), 0.03, 0.03) * _within(-self.x, -0.36, 0.05)
        bow = bow * _within(-z, 0.05, 0.05)
        frame = torch.maximum(torch.maximum(rim, bridge), bow)
        return _mix(skin, skin.new_tensor(_RIM), worn * frame)


def _front(seen: Seen) -> _Front:
    x = seen.x.abs() / seen.shape["width"]
    front = _within(-seen.z, -0.25, 0.1)
    return _Front(x, seen.y, x - seen.shape["apart"], front, seen.shape)


def _lit(distance: Distance, seen: Seen, camera: Camera, lighting: Tensor, least: float) -> Tensor:
    """How bright what rays met is (r,), from ``least`` to 1.

    The light goes with the camera, so that a head that turns away does not change its lit side.
    """
    nx, ny, nz = normals(distance, seen, 0.005)
    right, up, nearer = lighting.sin() * 0.98, 0.2, lighting.cos() * 0.98
    lx, ly, lz = (part[seen.image] for part in camera.outward(right, up, nearer))
    facing = nx * lx + ny * ly + nz * lz
    x, y, z = seen.x + _GRASP * nx, seen.y + _GRASP * ny, seen.z + _GRASP * nz
    free = (distance(seen.shape, x, y, z) / (0.7 * _GRASP)).clamp(0, 1)
    # As a screen shows it, twice the light does not look twice as bright.
    return ((least + (1 - least) * ((facing + 0.2) / 1.2).clamp(min=0)) * (0.6 + 0.4 * free)).sqrt()


def render_faces(numbers: Shape, size: int) -> Tensor:
    """Grey pictures of bald heads before black.

    Args:
        numbers: those of ``FACES``, each (n,), on the device to draw on.
        size: height and width, a multiple of 4.

    Returns:
        (n, 1, size, size), uint8.
    """
    camera = Camera(numbers["azimuth"], numbers["elevation"])
    seen = march(_head, _shape(numbers), camera, size)
    face = _front(seen)
    skin = 0.7 + 0.25 * numbers["tone"][seen.image][:, None]
    skin = _mix(skin, 0.3, 0.7 * face.brows())
    lips = _spot(face.x, face.y - _MOUTH, 0.16, 0.05) * face.front
    skin = face.eyes(_mix(skin, 0.3, 0.7 * lips))
    bright = skin * _lit(_head, seen, camera, numbers["lighting"], 0.06)[:, None]
    return compose(seen, bright, torch.zeros_like(numbers["tone"])[:, None], size)


def render_portraits(numbers: Shape, size: int) -> Tensor:
    """Colour pictures of heads with hair and glasses, or without, before one colour.

    Args:
        numbers: those of ``PORTRAITS`` and ``glasses``, each (n,), on the device to draw on.
        size: height and width, a multiple of 4.

    Returns:
        (n, 3, size, size), uint8.
    """
    camera = Camera(numbers["azimuth"], numbers["elevation"])
    seen = march(_haired, _hairy(numbers), camera, size)
    own = {name: value[seen.image] for name, value in numbers.items()}
    face = _front(seen)
    skin = _between(own["skin"], _DARK_SKIN, _LIGHT_SKIN)
    hair = _between((2 * own["hair_colour"]).clamp(max=1), _BLACK_HAIR, _BROWN_HAIR)
    blond = hair.new_tensor(_BLOND_HAIR).expand_as(hair)
    hair = _mix(hair, blond, (2 * own["hair_colour"] - 1).clamp(min=0))
    skin = _mix(skin, 0.6 * hair, 0.9 * face.brows())
    skin = face.glasses(face.eyes(face.mouth(skin, own["smile"])), seen.z, own["glasses"])
    over = _head(seen.shape, seen.x, seen.y, seen.z) - _hair(seen.shape, seen.x, seen.y, seen.z)
    colour = _mix(skin, hair, _within(-over, 0.0, 0.03))
    colour = colour * _lit(_haired, seen, camera, numbers["lighting"], 0.3)[:, None]
    return compose(seen, colour.clamp(max=1), _hue(numbers["background"]), size)


def _between(value: Tensor, low: tuple[float, ...], high: tuple[float, ...]) -> Tensor:
    """Colours (r, 3) from one to another, by values (r,)."""
    return torch.lerp(value.new_tensor(low), value.new_tensor(high), value[:, None])


def _hue(angle: Tensor) -> Tensor:
    """Dull colours (n, 3) of one lightness, red at 0, then green and blue by thirds of a circle."""
    thirds = torch.arange(3, device=angle.device) * (2 * math.pi / 3)
    return 0.45 + 0.12 * (angle[:, None] - thirds).cos()
