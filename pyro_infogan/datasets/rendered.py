"""Sets of rendered pictures: drawn once, then mapped from a file."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..devices import usable_device
from ..errors import DataError, checked_count
from ..randomness import checked_seed, derived
from .cache import Writer, cached, home
from .images import Factor, ImageSet, counted
from .rendering import chairs
from .rendering.marching import Shape

__all__ = ["rendered", "rendered_chairs"]

_BATCH = 64
"""Images drawn at once: their numbers fit a core's cache. Another size makes other images."""


def rendered_chairs(
    n: int | None = None,
    size: int = 64,
    *,
    train: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ImageSet:
    """Chairs seen all round, grey on white, after the "3D chairs" of the InfoGAN paper.

    Each is a chair of its own: four legs, a frame, a column or panels; backs of boards, slats or
    rails; with arms or none. Drawn once, then mapped from the cache.

    Args:
        n: how many, by default 20,000 to train on or 5,000 others; a longer set begins with the
            shorter one.
        size: height and width, a multiple of 4.
        train: whether to draw chairs to train on, or others to test with.
        seed: of the chairs.
        device: to draw on, the fastest there is by default. Images of one device may differ from
            another's by a shade; their factors do not.
        progress: whether to show a bar while drawing.

    Returns:
        Images (n, 1, size, size) of uint8 without labels, with factors ``azimuth`` (radians, a
        circle of 2π, 0 from the front), ``width`` (half the seat's, in radii of the sphere that
        fills the picture) and the kinds ``legs``, ``back`` and ``arms``.

    Raises:
        DataError: for a count, size or seed that cannot be drawn.
    """
    return rendered(
        "chairs",
        chairs.VERSION,
        n,
        size,
        chairs.draw,
        chairs.render,
        {"azimuth": 2 * torch.pi, "width": None, "legs": None, "back": None, "arms": None},
        train=train,
        seed=seed,
        device=device,
        progress=progress,
    )


def rendered(
    name: str,
    version: int,
    n: int | None,
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
    """A set of rendered pictures, from the cache if it has been drawn before.

    Args:
        name: of the renderer, in the cache.
        version: of the drawing code; a new one draws anew.
        n: how many images; the default's by ``train``.
        size: height and width.
        draw: ``draw(count, generator)``, all numbers of ``count`` things and their cameras, each
            (count,), on the CPU.
        render: ``render(numbers, size)``, their images (count, channels, size, size), uint8, on the
            numbers' device. Called from several threads.
        factors: which numbers are factors, and their periods; kinds are whole numbers.
        train: which of two streams of draws.
        seed: of the draws.
        device: to render on.
        progress: whether to show a bar.
        channels: of the images.

    Raises:
        DataError: for a count, size or seed that cannot be drawn.
    """
    train = bool(train)
    n = counted(f"n of rendered {name}", n, train)
    seed = checked_seed(seed, f"seed of rendered {name}")
    if checked_count(f"size of rendered {name}", size, least=16) % 4:
        raise DataError(
            f"size of rendered {name}",
            got=size,
            expected="a multiple of 4",
            fix=f"Use {size // 4 * 4} or {size // 4 * 4 + 4}.",
        )
    key = {
        "renderer": name,
        "version": version,
        "n": n,
        "size": size,
        "seed": seed,
        "train": train,
    }

    def numbers(batch: int) -> Shape:
        """Those of a whole batch, so that a longer set begins with the shorter one."""
        generator = torch.Generator().manual_seed(derived(seed, int(train), batch))
        return draw(_BATCH, generator)

    def make(writer: Writer) -> None:
        place = usable_device(device)
        images = writer.array("images", (n, channels, size, size), np.uint8)
        known: dict[str, np.ndarray] = {}

        def batch(number: int) -> int:
            things = numbers(number)
            first = number * _BATCH
            count = min(_BATCH, n - first)
            drawn = render({key: value.to(place) for key, value in things.items()}, size)
            images[first : first + count] = drawn[:count].cpu().numpy()
            for factor, values in known.items():
                values[first : first + count] = things[factor][:count].numpy()
            return count

        for factor in factors:
            dtype = numbers(0)[factor].numpy().dtype
            known[factor] = writer.array(factor, (n,), dtype)
        bar = tqdm(total=n, desc=f"drawing {name}", unit="image", disable=not progress)
        with bar, _workers(place) as each:
            for count in each(batch, range(-(-n // _BATCH))):
                bar.update(count)

    part = "train" if train else "test"
    arrays = cached(home() / f"rendered_{name}-{size}-{n}-{part}-{seed}.pyro_infogan", key, make)
    return ImageSet(
        torch.from_numpy(arrays["images"]),
        factors={
            name: Factor(torch.from_numpy(np.array(arrays[name])), period)
            for name, period in factors.items()
        },
    )


@contextmanager
def _workers(device: torch.device) -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` over batches; on the CPU as many at once as torch has threads.

    A batch is thousands of short operations. Threads that share each of them wait for one another
    more than they compute, all the more where others use the cores too.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield map
        return
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool.map
    finally:
        # Whoever interrupts does not wait for the whole set.
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
