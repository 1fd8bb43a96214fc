"""Random distortions, through which a code may be asked to stay readable."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine:
    """A random affine map for each image, drawn evenly from these ranges.

    Attributes:
        rotation: greatest turn, in degrees, either way.
        shear: greatest horizontal shear, as a ratio, either way.
        scale: greatest change of width, and of height, as a share.
        shift: greatest shift along each axis, as a share of the image.

    Example:
        >>> Affine(rotation=0, shear=0, scale=0, shift=0)(torch.ones(2, 1, 8, 8)).sum().item()
        128.0
    """

    rotation: float = 15.0
    shear: float = 0.2
    scale: float = 0.15
    shift: float = 0.1

    def __call__(self, images: Tensor) -> Tensor:
        """Distorted images of the same shape (n, C, H, W), black where nothing is mapped."""
        n = len(images)
        turn, shear, wide, high, across, down = (
            torch.rand(6, n, device=images.device, dtype=images.dtype) * 2 - 1
        )
        turn = turn * math.radians(self.rotation)
        wide, high = 1 + self.scale * wide, 1 + self.scale * high
        rows = [
            [turn.cos() * wide, self.shear * shear - turn.sin() * high, 2 * self.shift * across],
            [turn.sin() * wide, turn.cos() * high, 2 * self.shift * down],
        ]
        maps = torch.stack([torch.stack(row, -1) for row in rows], 1)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)
