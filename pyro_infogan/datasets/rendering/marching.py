"""A ray marcher for signed-distance fields, many small images at a time.

A thing is a function of the space about it: the distance to its surface, negative inside. A ray may
go forward by that distance without meeting anything, again and again, until there is none left
(Hart 1996, "Sphere tracing"). A coarse grid of thick rays goes first, so that fine rays start near
the surface and most of those that see nothing are never marched.

Space has x to the right, y up and z towards a camera of azimuth and elevation 0; the unit sphere
about the origin just fills the picture.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Camera", "Distance", "Seen", "Shape", "compose", "march", "normals"]

Shape = Mapping[str, Tensor]
"""What sets one thing apart from another: numbers by name, each (n,), one for each image."""

Distance = Callable[[Shape, Tensor, Tensor, Tensor], Tensor]
"""``distance(shape, x, y, z)``: at most the distance of each point to the surface, negative inside.

The numbers of ``shape`` come as (n, 1) for points (n, m), and as (r,) for points (r,), so that it
has to work element by element, and what it was given has to stay as it was. It is all that takes
time: on a CPU an operation in place takes half as long as one that makes a tensor, ``torch.where``
and indexing twenty times as long.
"""

_COARSE = 4
"""Side, in pixels, of the square that one thick ray goes before."""
_COARSE_STEPS = 24
_STEPS = 32
_PACK_AFTER = (5, 9, 14, 20)
"""Steps after which rays that have arrived are left behind."""
_TOUCHING = 2e-3
"""Distance at which a ray has arrived: a sixteenth of a pixel of a 64×64 image."""


@dataclass(frozen=True)
class Camera:
    """Where the images are taken from.

    Attributes:
        azimuth: (n,), radians about the vertical axis; the camera moves to the thing's left side.
        elevation: (n,), radians above the horizon.
        distance: from the origin, in radii of the unit sphere; far away there is no perspective.
    """

    azimuth: Tensor
    elevation: Tensor
    distance: float = 5.0

    def outward(
        self, right: float | Tensor, up: float | Tensor, nearer: float | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The direction (n,) each of x, y and z, of what each camera sees as given."""
        sin_a, cos_a = self.azimuth.sin(), self.azimuth.cos()
        sin_e, cos_e = self.elevation.sin(), self.elevation.cos()
        level = nearer * cos_e - up * sin_e
        return (
            right * cos_a + level * sin_a,
            up * cos_e + nearer * sin_e,
            level * cos_a - right * sin_a,
        )

    def rays(self, across: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit directions (n, m) each of x, y and z, of rays through points of the picture.

        Args:
            across: (n, m) or (m,), from −1 at the left edge to 1.
            up: the same, from −1 at the lower edge to 1.
        """
        sin_a, cos_a = self.azimuth.sin()[:, None], self.azimuth.cos()[:, None]
        sin_e, cos_e = self.elevation.sin()[:, None], self.elevation.cos()[:, None]
        # The plane of the picture goes through the origin, a little larger than the unit sphere
        # looks from here.
        larger = 1 / math.sqrt(1 - self.distance**-2)
        across, up = across * larger, up * larger
        level = self.distance * cos_e + up * sin_e
        x = across * cos_a - level * sin_a
        y = up * cos_e - self.distance * sin_e
        z = -across * sin_a - level * cos_a
        shorter = (x * x + y * y + z * z).rsqrt()
        return x * shorter, y * shorter, z * shorter


@dataclass(frozen=True)
class Seen:
    """What rays met, or passed by within a pixel; r of them, of all images together.

    Attributes:
        image: (r,), which image each belongs to.
        pixel: (r,), which pixel of it.
        x, y, z: (r,), where.
        coverage: (r,), in (0, 1]: how much of the pixel is covered; less than 1 along outlines.
        shape: the numbers of the ray's image, each (r,).
        distance: (r,), from there to the surface; negative inside.
    """

    image: Tensor
    pixel: Tensor
    x: Tensor
    y: Tensor
    z: Tensor
    coverage: Tensor
    shape: Shape
    distance: Tensor


def march(distance: Distance, shape: Shape, camera: Camera, size: int) -> Seen:
    """Send a ray through every pixel of every image (n, size, size).

    Rays end half a pixel under the surface, if they get there: one that passes the outline at a
    distance d covers 1/2 − d of its pixel, on either side of it.

    Args:
        distance: the thing, inside the unit sphere.
        shape: its numbers in each image, (n,).
        camera: of n images.
        size: height and width, a multiple of 4.
    """
    numbers = {name: value[:, None] for name, value in shape.items()}
    origin = tuple(part[:, None] for part in camera.outward(0, 0, camera.distance))
    pixel = 2 / size
    cells = size // _COARSE
    far = camera.distance + 1.05

    start = _thick(distance, numbers, camera, origin, cells, far, pixel)
    # Each image has its own number of squares to look at: the first of (n, m) are its own, the
    # rest repeat one.
    cell, own = _packed(start < far)
    inner = torch.arange(_COARSE, device=cell.device)
    row = (cell // cells * _COARSE)[..., None, None] + inner[:, None]
    column = (cell % cells * _COARSE)[..., None, None] + inner
    place = (row * size + column).flatten(1)
    gone = start.gather(1, cell).repeat_interleave(_COARSE**2, 1)
    way = camera.rays(*_middles(place, size))

    # A ray has arrived before it is all the way there.
    under = pixel / 2 + _TOUCHING
    closest, at = _fine(distance, numbers, origin, way, gone, under, far)
    coverage = (1 - (closest - _TOUCHING).clamp(min=0) / pixel).clamp(min=0)
    kept = (coverage > 0) & own.repeat_interleave(_COARSE**2, 1)
    image, _ = kept.nonzero(as_tuple=True)
    # Back to where the ray came through the surface: deeper down, another side may be nearer.
    at = at + (closest - under).clamp(max=0)
    x, y, z = ((origin[axis] + at * way[axis])[kept] for axis in range(3))
    own_shape = {name: value.index_select(0, image) for name, value in shape.items()}
    left = distance(own_shape, x, y, z)
    return Seen(image, place[kept], x, y, z, coverage[kept], own_shape, left)


def _middles(place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How far across and up the picture the middles of pixels are, each from −1 to 1."""
    across = (place % size + 0.5) * (2 / size) - 1
    up = 1 - (place // size + 0.5) * (2 / size)
    return across, up


def _packed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (n, k) of the chosen ones of each row, and which of them are its own.

    A row with fewer than k repeats its first element, chosen or not.
    """
    row, column = chosen.nonzero(as_tuple=True)
    count = chosen.sum(1)
    first = count.cumsum(0) - count
    own = torch.arange(int(count.max()), device=count.device) < count[:, None]
    indices = torch.zeros(own.shape, dtype=column.dtype, device=column.device)
    indices[row, torch.arange(len(row), device=row.device) - first[row]] = column
    return indices, own


def _thick(
    distance: Distance,
    numbers: Shape,
    camera: Camera,
    origin: tuple[Tensor, ...],
    cells: int,
    far: float,
    pixel: float,
) -> Tensor:
    """Length (n, cells²) that each thick ray goes free; ``far`` or more where it meets nothing."""
    place = torch.arange(cells * cells, device=camera.azimuth.device)
    dx, dy, dz = camera.rays(*_middles(place, cells))
    ox, oy, oz = origin
    gone = torch.full_like(dx, camera.distance - 1.05)
    # What a ray must keep free about it, so that all rays of its square may start where it stops.
    radius = math.sqrt(0.5) * 2 / cells + pixel
    for _ in range(_COARSE_STEPS):
        left = distance(numbers, ox + gone * dx, oy + gone * dy, oz + gone * dz)
        step = (left - radius).clamp(min=0)
        if not step.any():
            break
        gone = (gone + step).clamp(max=far)
    return gone


def _fine(
    distance: Distance,
    numbers: Shape,
    origin: tuple[Tensor, ...],
    way: tuple[Tensor, ...],
    gone: Tensor,
    under: float,
    far: float,
) -> tuple[Tensor, Tensor]:
    """How close each ray (n, m) comes to the surface ``under`` the thing's own, and where."""
    closest, closest_at = torch.full_like(gone, math.inf), gone
    ox, oy, oz = origin
    # What rays carry that are still under way, and which of the m they are.
    (dx, dy, dz), length, best, best_at, going = way, gone, closest, gone, None
    for step in range(1, _STEPS + 1):
        left = distance(numbers, ox + length * dx, oy + length * dy, oz + length * dz) + under
        nearer = (left < best).to(left.dtype)
        best = torch.minimum(best, left)
        best_at = torch.lerp(best_at, length, nearer)
        length = (length + left).clamp(max=far)
        if step in _PACK_AFTER or step == _STEPS:
            if going is None:
                closest, closest_at = best, best_at
            else:
                closest.scatter_(1, going, best)
                closest_at.scatter_(1, going, best_at)
            on = (best > _TOUCHING) & (length < far)
            if not on.any():
                break
            index, _ = _packed(on)
            going = index if going is None else going.gather(1, index)
            dx, dy, dz, length, best, best_at = (
                part.gather(1, index) for part in (dx, dy, dz, length, best, best_at)
            )
    return closest, closest_at


def normals(distance: Distance, seen: Seen, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals (r,) each of x, y and z, by differences over ``width`` to both sides."""
    own, x, y, z = seen.shape, seen.x, seen.y, seen.z
    dx = distance(own, x + width, y, z) - distance(own, x - width, y, z)
    dy = distance(own, x, y + width, z) - distance(own, x, y - width, z)
    dz = distance(own, x, y, z + width) - distance(own, x, y, z - width)
    length = (dx * dx + dy * dy + dz * dz).clamp(min=1e-12).rsqrt()
    return dx * length, dy * length, dz * length


def compose(seen: Seen, colours: Tensor, background: Tensor, size: int) -> Tensor:
    """Images (n, C, size, size), uint8, of colours (r, C) over backgrounds (n, C), in [0, 1]."""
    n, channels = background.shape
    images = background[:, None].repeat(1, size * size, 1).flatten(0, 1)
    places = seen.image * size * size + seen.pixel
    images[places] = torch.lerp(images[places], colours, seen.coverage[:, None])
    bytes_ = (images * 255).round().clamp(0, 255).to(torch.uint8)
    return bytes_.view(n, size, size, channels).permute(0, 3, 1, 2).contiguous()
