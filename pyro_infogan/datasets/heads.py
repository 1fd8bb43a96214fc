"""Sets of rendered heads."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from tqdm import tqdm

from ..errors import DataError, checked_count
from ..randomness import derived
from .images import Factor, ImageSet
from .rendering import heads
from .rendering.marching import Shape

__all__ = ["rendered_faces"]

_BATCH = 64


def rendered_faces(
    n: int = 20_000,
    size: int = 32,
    *,
    train: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ImageSet:
    """Bald heads seen and lit from many sides, grey, after the "3D faces" of the InfoGAN paper.

    Each is a head of its own: eyes, brows, nose, mouth, chin, ears and skin differ as well.

    Args:
        n: how many.
        size: height and width, a multiple of 4.
        train: whether to draw heads to train on, or others to test with.
        seed: of the heads.
        device: to draw on. Images of one device may differ from another's by a shade; their factors
            do not.
        progress: whether to show a bar while drawing.

    Returns:
        Images (n, 1, size, size) of uint8 without labels, with independent factors, each drawn
        evenly: ``azimuth`` (±1.2 radians, 0 from the front; the head looks to the left of the
        picture where it is more), ``elevation`` (±0.5 radians, seen from above where it is more),
        ``lighting`` (±1.3 radians, that the light comes from the right of the picture) and
        ``width`` (0.8 to 1.2 of the usual one).

    Raises:
        DataError: for a count, size or seed that cannot be drawn.
    """
    return _rendered(
        "faces",
        n,
        size,
        heads.draw_faces,
        heads.render_faces,
        {"azimuth": None, "elevation": None, "lighting": None, "width": None},
        train=train,
        seed=seed,
        device=device,
        progress=progress,
    )


def _rendered(
    name: str,
    n: int,
    size: int,
    draw: Callable[[int, torch.Generator], Shape],
    render: Callable[[Shape, int], Tensor],
    factors: Mapping[str, float | None],
    *,
    train: bool,
    seed: int,
    device: str | torch.device | None,
    progress: bool,
    channels: int = 1,
) -> ImageSet:
    checked_count(f"n of rendered {name}", n, least=1)
    checked_count(f"seed of rendered {name}", seed, least=0)
    if checked_count(f"size of rendered {name}", size, least=16) % 4:
        raise DataError(
            f"size of rendered {name}",
            got=size,
            expected="a multiple of 4",
            fix=f"Use {size // 4 * 4} or {size // 4 * 4 + 4}.",
        )
    images = torch.empty(n, channels, size, size, dtype=torch.uint8)
    known: dict[str, list[Tensor]] = {factor: [] for factor in factors}
    with tqdm(total=n, desc=f"drawing {name}", unit="image", disable=not progress) as bar:
        for number, first in enumerate(range(0, n, _BATCH)):
            generator = torch.Generator().manual_seed(derived(seed, int(train), number))
            things = draw(_BATCH, generator)
            count = min(_BATCH, n - first)
            drawn = render({key: value.to(device) for key, value in things.items()}, size)
            images[first : first + count] = drawn[:count].cpu()
            for factor, values in known.items():
                values.append(things[factor][:count])
            bar.update(count)
    return ImageSet(
        images,
        factors={
            factor: Factor(torch.cat(values), factors[factor]) for factor, values in known.items()
        },
    )
