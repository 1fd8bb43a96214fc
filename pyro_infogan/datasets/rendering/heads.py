"""Human heads: their distance, and the paint that makes them faces.

A head looks along z; its crown is at y = 0.85, its eyes about y = 0.02, and its neck is cut off at
the bottom of the picture. Only what stands out in profile is a body of its own. Sockets, brows and
lips are swellings of the surface, and what is smaller than a pixel of a small picture, such as
irises and the rims of glasses, is painted on by where on the front of the head it lies.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .marching import Camera, Seen, Shape, compose, march, normals

__all__ = ["FACES", "IDENTITY", "draw_faces", "render_faces"]

IDENTITY = {
    "width": (0.8, 1.2),
    "eye_distance": (0.185, 0.235),
    "eye_size": (0.85, 1.2),
    "nose_length": (0.0, 0.1),
    "nose_width": (0.8, 1.35),
    "chin": (0.0, 1.0),
    "ears": (0.7, 1.2),
    "brow": (0.2, 1.2),
    "lips": (0.8, 1.3),
}
"""What sets heads apart, from the least to the most: sizes relative to the usual one, but distance
from the nose and length in units of space, chin from a weak to a strong one."""

FACES = {
    **IDENTITY,
    "azimuth": (-1.2, 1.2),
    "elevation": (-0.5, 0.5),
    "lighting": (-1.3, 1.3),
    "tone": (0.0, 1.0),
}
"""What faces show: angles in radians, the light's from the camera to the right of the picture; skin
from dark to light."""

_EYE = 0.02
"""Height of the eyes."""
_MOUTH = -0.43
"""Height of the line between the lips."""


def _ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: float, ry: float, rz: float) -> Tensor:
    """Nearly the distance to an ellipsoid about the origin."""
    x, y, z = x * (1 / rx), y * (1 / ry), z * (1 / rz)
    inner = (x * x + y * y + z * z).sqrt()
    x, y, z = x * (1 / rx), y * (1 / ry), z * (1 / rz)
    return inner * (inner - 1) * (x * x + y * y + z * z).clamp(min=1e-6).rsqrt()


def _join(a: Tensor, b: Tensor, fillet: float) -> Tensor:
    """Union, with the crease between the two filled."""
    deep = (fillet - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - deep * deep * (0.25 / fillet)


def _spot(x: Tensor, y: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """A soft spot about the origin: 1 in its middle, falling off over ``width`` and ``height``."""
    across, along = x * (1 / width), y * (1 / height)
    # No exponential: its far tails would be denormal numbers, a hundred times slower.
    left = (1 - 0.25 * (across * across + along * along)).clamp(min=0)
    return left * left * left * left


def _head(shape: Shape, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The distance of a bald head."""
    width = shape["width"]
    x = x.abs() / width  # Heads are symmetric.
    skull = _ellipsoid(x, y - 0.2, z + 0.1, 0.56, 0.64, 0.68)
    face = _ellipsoid(x, y + 0.22, z - 0.16, 0.42, 0.54, 0.42)
    head = _join(skull, face, 0.2)

    chin = shape["chin"]
    low, ahead = y + 0.6 + 0.06 * chin, z - 0.36 - 0.08 * chin
    head = _join(head, (x * x + low * low + ahead * ahead).sqrt() - 0.16, 0.28)

    behind = z + 0.08 - 0.25 * (y + 0.6)
    neck = torch.maximum((x * x + behind * behind).sqrt() - 0.32, (y + 0.8).abs() - 0.35)
    head = _join(head, neck, 0.22)

    # From the bridge, where it begins between the eyes, to the tip: thicker on the way.
    length = shape["nose_length"]
    up, out = y + 0.22, z - 0.64 - length
    run, rise = -0.14 - length, 0.26
    part = ((up * rise + out * run) / (rise * rise + run * run)).clamp(0, 1)
    up, out, side = up - part * rise, out - part * run, x / shape["nose_width"]
    nose = (side * side + up * up + out * out).sqrt() - (0.085 - 0.05 * part)
    head = _join(head, nose, 0.08)

    ears = shape["ears"]
    out = x - 0.55
    ear = _ellipsoid(out, (y + 0.02) / ears, (z + 0.06) / ears + 0.3 * out, 0.07, 0.17, 0.1)
    head = _join(head, ear, 0.04)

    apart = x - shape["eye_distance"]
    swell = (
        shape["brow"] * 0.035 * _spot(apart, y - 0.17, 0.17, 0.07)
        - 0.06 * _spot(apart, y - _EYE, 0.13, 0.085)
        + 0.03 * _spot(apart - 0.04, y + 0.2, 0.12, 0.12)
        + shape["lips"] * 0.03 * _spot(x, y - _MOUTH, 0.14, 0.07)
        - 0.025 * _spot(x, y - _MOUTH, 0.16, 0.02)
        - 0.012 * _spot(x, y - _MOUTH + 0.11, 0.14, 0.05)
    )
    head = head - swell * (4 * z).clamp(0, 1)
    return head * width.clamp(max=1)


def draw_faces(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """The numbers of n faces, (n,) each, drawn evenly and independently."""
    return _even(FACES, n, generator)


def _even(
    ranges: Mapping[str, tuple[float, float]], n: int, generator: torch.Generator
) -> dict[str, Tensor]:
    return {
        name: low + (high - low) * torch.rand(n, generator=generator)
        for name, (low, high) in ranges.items()
    }


def _within(value: Tensor, edge: float | Tensor, soft: float) -> Tensor:
    """1 where ``value`` is less than ``edge``, 0 where it is more, with a soft step."""
    return ((edge - value) / soft + 0.5).clamp(0, 1)


def _own(numbers: Shape, seen: Seen, name: str) -> Tensor:
    return numbers[name][seen.image]


def _light(camera: Camera, lighting: Tensor, height: float) -> tuple[Tensor, Tensor, Tensor]:
    """Direction (n,) each of a light ``lighting`` radians to the right of the camera, and above."""
    side, ahead = lighting.sin() * math.cos(height), lighting.cos() * math.cos(height)
    sin_a, cos_a = camera.azimuth.sin(), camera.azimuth.cos()
    sin_e, cos_e = camera.elevation.sin(), camera.elevation.cos()
    up = math.sin(height)
    level = ahead * cos_e - up * sin_e
    return side * cos_a + level * sin_a, ahead * sin_e + up * cos_e, level * cos_a - side * sin_a


def render_faces(numbers: Shape, size: int) -> Tensor:
    """Grey pictures (n, 1, size, size), uint8, of bald heads before a plain dark background.

    Args:
        numbers: those of ``FACES``, (n,) each.
        size: height and width, a multiple of 4.
    """
    camera = Camera(numbers["azimuth"], numbers["elevation"])
    shape = {name: numbers[name] for name in IDENTITY}
    seen = march(_head, shape, camera, size)
    nx, ny, nz = normals(_head, seen, 0.03)
    lx, ly, lz = (part[seen.image] for part in _light(camera, numbers["lighting"], 0.35))
    facing = nx * lx + ny * ly + nz * lz
    lit = 0.07 + 0.95 * ((facing + 0.1) / 1.1).clamp(min=0)

    skin = 0.5 + 0.3 * _own(numbers, seen, "tone")
    x, y, front = seen.x.abs() / seen.shape["width"], seen.y, _within(-seen.z, -0.25, 0.1)
    apart, size_of = x - seen.shape["eye_distance"], seen.shape["eye_size"]
    grey = skin
    lips = _spot(x, y - _MOUTH, 0.16, 0.05) * front
    grey = grey * (1 - 0.65 * lips)
    brow = _spot(apart - 0.01, y - 0.17 + 0.3 * apart.abs(), 0.13, 0.035) * front
    grey = grey * (1 - 0.6 * brow)
    inside = ((apart / 0.105).square() + ((y - _EYE) / 0.06).square()).sqrt() / size_of
    white = _within(inside, 1.0, 0.4) * front
    grey = torch.lerp(grey, torch.full_like(grey, 0.85), white)
    iris = _within((apart.square() + (y - _EYE).square()).sqrt(), 0.055 * size_of, 0.04) * front
    grey = torch.lerp(grey, torch.full_like(grey, 0.05), iris)
    bright = (grey * lit).clamp(0, 1).sqrt()
    return compose(seen, bright[:, None], torch.full_like(numbers["tone"], 0.1)[:, None], size)
