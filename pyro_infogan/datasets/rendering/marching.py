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
"""``distance(shape, x, y, z)``: at most the distance of each point (r,) to the surface, negative
inside; the numbers of ``shape`` come as (r,), those of the image that the point belongs to."""

_COARSE = 4
"""Side, in pixels, of the square that one thick ray goes before."""
_COARSE_STEPS = 24
_STEPS = 24
_COMPACT_EVERY = 3
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

    def rays(self, size: int) -> tuple[Tensor, Tensor]:
        """Origins (n, 3) and unit directions (n, size², 3), pixel by pixel, rows from the top."""
        sin_a, cos_a = self.azimuth.sin(), self.azimuth.cos()
        sin_e, cos_e = self.elevation.sin(), self.elevation.cos()
        zero = torch.zeros_like(sin_a)
        towards = torch.stack([cos_e * sin_a, sin_e, cos_e * cos_a], -1)
        right = torch.stack([cos_a, zero, -sin_a], -1)
        up = torch.stack([-sin_e * sin_a, cos_e, -sin_e * cos_a], -1)
        middle = (torch.arange(size, device=zero.device, dtype=zero.dtype) + 0.5) / size * 2 - 1
        # The plane of the picture goes through the origin, a little larger than the unit sphere
        # looks from here.
        middle = middle / math.sqrt(1 - self.distance**-2)
        down, across = (axis.flatten() for axis in torch.meshgrid(middle, middle, indexing="ij"))
        point = across[:, None] * right[:, None] - down[:, None] * up[:, None]
        directions = point - self.distance * towards[:, None]
        return self.distance * towards, directions / directions.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Seen:
    """What rays met, or passed by within a pixel; r of them, of all images together.

    Attributes:
        image: (r,), which image each belongs to.
        pixel: (r,), which pixel of it.
        x, y, z: (r,), where.
        coverage: (r,), in (0, 1]: how much of the pixel is covered; less than 1 along outlines.
        shape: the numbers of the ray's image, each (r,).
        distance: (r,), what is left to the surface.
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

    Args:
        distance: the thing, inside the unit sphere.
        shape: its numbers in each image, (n,).
        camera: of n images.
        size: height and width, a multiple of 4.
    """
    pixel = 2 / size
    near, far = camera.distance - 1.05, camera.distance + 1.05
    image, cell, start = _thick(distance, shape, camera, size // _COARSE, near, far, pixel)
    # Each square's own pixels.
    inner = torch.arange(_COARSE, device=cell.device)
    row = (cell // (size // _COARSE) * _COARSE)[:, None, None] + inner[:, None]
    column = (cell % (size // _COARSE) * _COARSE)[:, None, None] + inner
    place = (row * size + column).flatten()
    image = image.repeat_interleave(_COARSE**2)
    gone = start.repeat_interleave(_COARSE**2)

    origins, directions = camera.rays(size)
    ox, oy, oz = origins[image].unbind(-1)
    dx, dy, dz = directions[image, place].unbind(-1)
    own = {name: value[image] for name, value in shape.items()}
    closest = torch.full_like(gone, math.inf)
    at = gone.clone()
    # Rays still under way, with what they carry gathered now and then, not at each step.
    going = torch.arange(len(image), device=image.device)
    carried = (ox, oy, oz, dx, dy, dz)
    numbers, length, best, best_at = own, gone, closest.clone(), at.clone()
    for step in range(_STEPS):
        ax, ay, az, bx, by, bz = carried
        left = distance(numbers, ax + length * bx, ay + length * by, az + length * bz)
        nearer = left < best
        best = torch.where(nearer, left, best)
        best_at = torch.where(nearer, length, best_at)
        length = length + left
        if step % _COMPACT_EVERY == _COMPACT_EVERY - 1 or step == _STEPS - 1:
            closest[going], at[going] = best, best_at
            on = ((best > _TOUCHING) & (length < far)).nonzero().squeeze(-1)
            if not len(on):
                break
            going = going[on]
            carried = tuple(part[on] for part in carried)
            numbers = {name: value[on] for name, value in numbers.items()}
            length, best, best_at = length[on], best[on], best_at[on]

    coverage = (1 - (closest - _TOUCHING).clamp(min=0) / pixel).clamp(min=0)
    kept = (coverage > 0).nonzero().squeeze(-1)
    at = at[kept]
    x, y, z = (origin[kept] + at * way[kept] for origin, way in ((ox, dx), (oy, dy), (oz, dz)))
    return Seen(
        image[kept],
        place[kept],
        x,
        y,
        z,
        coverage[kept],
        {name: value[kept] for name, value in own.items()},
        closest[kept],
    )


def _thick(
    distance: Distance,
    shape: Shape,
    camera: Camera,
    cells: int,
    near: float,
    far: float,
    pixel: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Image, square and length gone of the thick rays that come near something."""
    origins, directions = camera.rays(cells)
    own = {name: value[:, None] for name, value in shape.items()}
    ox, oy, oz = origins[:, None].unbind(-1)
    dx, dy, dz = directions.unbind(-1)
    # What a ray must keep free about it, so that all rays of its square may start where it stops.
    radius = math.sqrt(0.5) * 2 / cells + pixel
    gone = torch.full_like(dx, near)
    for _ in range(_COARSE_STEPS):
        left = distance(own, ox + gone * dx, oy + gone * dy, oz + gone * dz)
        gone = torch.where(gone < far, gone + (left - radius).clamp(min=0), gone)
    image, cell = (gone < far).nonzero(as_tuple=True)
    return image, cell, gone[image, cell]


def normals(distance: Distance, seen: Seen, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals (r,) each of x, y and z, by differences over ``width``."""
    x, y, z = seen.x, seen.y, seen.z
    dx = distance(seen.shape, x + width, y, z) - seen.distance
    dy = distance(seen.shape, x, y + width, z) - seen.distance
    dz = distance(seen.shape, x, y, z + width) - seen.distance
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
