"""House numbers made of MNIST's digits, in the manner of SVHN."""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..randomness import checked_seed, derived
from .images import Factor, ImageSet, counted
from .mnist import mnist

__all__ = ["street_numbers"]

_SIZE = 32
_BATCH = 256
"""Images drawn at once. Another size makes other images."""
_NONE = 10
"""The kind of a neighbour that is not there."""
_CIRCLE = 2 * math.pi


def street_numbers(n: int | None = None, *, train: bool = True, seed: int = 0) -> ImageSet:
    """Digits 3×32×32 cut out of house numbers: what SVHN shows, made of MNIST's digits.

    A digit on a coloured plate, between parts of its neighbours or alone, in light from some side,
    more or less sharp. Labels are the digits in the middle. Made anew at each call, a thousand
    in less than half a second on a CPU.

    Args:
        n: how many, by default 20,000 to train on or 5,000 others; a longer set begins with the
            shorter one.
        train: of MNIST's training digits, or of its test digits.
        seed: of the draws.

    Returns:
        Images with the factors ``lighting`` (how bright, 1 as painted), ``contrast`` (between digit
        and plate, as painted, of 1 between black and white), ``blur`` (standard deviation in
        pixels), ``hue`` (of the plate, radians, a circle of 2π) and the kinds ``left`` and
        ``right``: which digits are beside it, 10 for none.

    Raises:
        DataError: for a count or a seed that is not a whole number.

    Example:
        >>> numbers = street_numbers(3)
        >>> numbers.images.shape, numbers.factors["left"].is_kind
        (torch.Size([3, 3, 32, 32]), True)
    """
    n = counted("n of street numbers", n, train)
    seed = checked_seed(seed, "seed of street numbers")
    digits = mnist(train)
    images = torch.empty(n, 3, _SIZE, _SIZE, dtype=torch.uint8)
    drawn = []
    for first in range(0, n, _BATCH):
        generator = torch.Generator().manual_seed(derived(seed, int(train), first))
        numbers = _draw(_BATCH, digits, generator)
        # A part of a batch is drawn as the whole, so that a longer set begins with the shorter one.
        images[first : first + _BATCH] = _paint(numbers, digits.images, generator)[: n - first]
        drawn.append(numbers)
    known = {name: torch.cat([numbers[name] for numbers in drawn])[:n] for name in drawn[0]}
    return ImageSet(
        images,
        digits.labels[known["middle_image"]],
        {
            "lighting": Factor(known["lighting"]),
            "contrast": Factor(known["contrast"]),
            "blur": Factor(known["blur"]),
            "hue": Factor(known["hue"], period=_CIRCLE),
            "left": Factor(known["left"]),
            "right": Factor(known["right"]),
        },
    )


def _draw(n: int, digits: ImageSet, generator: Generator) -> dict[str, Tensor]:
    """Numbers of ``n`` images, each (n,); ``*_image`` are indices of digits."""

    def between(least: float, most: float) -> Tensor:
        return least + (most - least) * torch.rand(n, generator=generator)

    def chance(probability: float) -> Tensor:
        return torch.rand(n, generator=generator) < probability

    numbers = {
        "lighting": between(0.4, 1.15),
        "contrast": between(0.25, 0.75),
        "blur": between(0.3, 1.4),
        "hue": between(0, _CIRCLE),
    }
    for place in ("left", "middle", "right"):
        index = torch.randint(len(digits), (n,), generator=generator)
        numbers[f"{place}_image"] = index
        numbers[place] = digits.labels[index]
    for place in ("left", "right"):
        numbers[place] = torch.where(chance(0.35), _NONE, numbers[place])
    return numbers | {
        # The plate is darker than its digits, or lighter.
        "sign": torch.where(chance(0.5), 1.0, -1.0),
        "mean": between(0.4, 0.6),
        "colourful": between(0.02, 0.17),
        "digit_hue": between(0, _CIRCLE),
        "digit_colourful": between(0.0, 0.12),
        # In pixels, but for the angles in radians.
        "turn": between(-0.15, 0.15),
        "slant": between(-0.2, 0.2),
        "height": between(23, 29),
        "narrow": between(0.75, 1.0),
        "across": between(-1.2, 1.2),
        "down": between(-1.2, 1.2),
        "apart": between(0.66, 0.84),
        "bold": between(1.2, 2.6),
        # Beyond its upper and lower edge there is the wall.
        "edge": torch.where(chance(0.5), between(13.5, 17.0), 40.0),
        "wall": between(0.15, 0.85),
        "shadow": torch.where(chance(0.4), between(0.2, 0.5), 0.0),
        "light_from": between(0, _CIRCLE),
        "falloff": between(0.0, 0.4),
        "noise": between(0.005, 0.025),
    }


def _paint(numbers: Mapping[str, Tensor], digits: Tensor, generator: Generator) -> Tensor:
    """Images (n, 3, 32, 32), uint8."""
    own = {name: value[:, None, None] for name, value in numbers.items()}
    axis = torch.arange(_SIZE) - (_SIZE - 1) / 2
    # Along the plate and across it, from the middle of the digit, (n, 32, 32).
    x, y = axis - own["across"], axis[:, None] - own["down"]
    cos, sin = own["turn"].cos(), own["turn"].sin()
    x, y = x * cos + y * sin, y * cos - x * sin

    ink = _ink(numbers, own, digits, x, y)
    shade = F.pad(ink, (1, 0, 1, 0))[:, :-1, :-1] * own["shadow"]
    plate = _colour(own["mean"] - own["sign"] * own["contrast"] / 2, own["hue"], own["colourful"])
    wall = own["wall"][..., None].expand_as(plate)
    paint = _colour(
        own["mean"] + own["sign"] * own["contrast"] / 2, own["digit_hue"], own["digit_colourful"]
    )
    beyond = (y.abs() - own["edge"] + 0.5).clamp(0, 1)
    image = torch.lerp(plate, wall, beyond[..., None]) * (1 - shade)[..., None]
    image = torch.lerp(image, paint, ink[..., None])

    side = (axis * own["light_from"].cos() + axis[:, None] * own["light_from"].sin()) / (_SIZE / 2)
    image = image * (own["lighting"] * (1 + own["falloff"] * side))[..., None]
    image = _blurred(image, numbers["blur"]).permute(0, 3, 1, 2)
    image = image + torch.randn(image.shape, generator=generator) * own["noise"][..., None]
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def _ink(
    numbers: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    digits: Tensor,
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """How much of each pixel (n, 32, 32) digits cover."""
    ink = torch.zeros_like(x)
    # Digits are 20 of 28 pixels high, and grids go from −1 to 1.
    scale = 20 / 14 / own["height"]
    for place, step in (("left", -1), ("middle", 0), ("right", 1)):
        beside = x - step * own["apart"] * own["height"] * own["narrow"]
        grid = torch.stack([(beside / own["narrow"] + own["slant"] * y) * scale, y * scale], -1)
        image = digits[numbers[f"{place}_image"]].float() / 255
        drawn = F.grid_sample(image, grid, align_corners=False).squeeze(1)
        there = own[place] < _NONE
        ink = torch.maximum(ink, (drawn * own["bold"]).clamp(max=1) * there)
    return ink


def _colour(level: Tensor, hue: Tensor, amount: Tensor) -> Tensor:
    """Colours (..., 3) whose channels have the mean ``level``."""
    third = torch.tensor([0.0, -_CIRCLE / 3, _CIRCLE / 3])
    return level[..., None] + amount[..., None] * (hue[..., None] + third).cos()


def _blurred(images: Tensor, deviation: Tensor) -> Tensor:
    """Each of the images (n, h, h, C) under a Gaussian of its own."""
    axis = torch.arange(images.shape[1])
    apart = (axis - axis[:, None]) / deviation[:, None, None]
    weights = (-apart.square() / 2).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    for _ in range(2):
        # Down the columns, which are the rows the second time.
        images = (weights @ images.flatten(2)).view_as(images).transpose(1, 2).contiguous()
    return images
