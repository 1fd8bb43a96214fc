"""Which images each step meets: an order that follows from (seed, epoch)."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from ..distributed import Alone
from ..errors import DeclarationError
from ..inference import Schedule
from ..randomness import derived

__all__ = ["batches", "guided"]


def batches(images: int, batch_size: int, seed: int, start: int) -> Iterator[Tensor]:
    """Indices of each batch after the first ``start``, in an order given by (seed, epoch)."""
    first, skipped = divmod(start, images // batch_size)
    for epoch in itertools.count(first):
        generator = torch.Generator().manual_seed(derived(seed, 1, epoch))
        order = torch.randperm(images, generator=generator)
        batches = order[: len(order) // batch_size * batch_size].split(batch_size)
        yield from batches[skipped if epoch == first else 0 :]


def guided(
    order: Iterator[tuple[Tensor, int]],
    known: Tensor,
    schedule: Schedule,
    batch_size: int,
    seed: int,
    start: int,
    group: Alone,
) -> Iterator[tuple[Tensor, int]]:
    """Batches after the first ``start``, and how many at the front of each are labelled ones.

    The others come from all images, as without labels. Both what the schedule draws and the order
    of the labelled images follow from the seed, of which each process takes its share.
    """
    labelled = known.nonzero().squeeze(-1)
    per_epoch = max(1, len(known) // (batch_size * group.size))
    draws = torch.Generator().manual_seed(derived(seed, 2))
    shuffles = torch.Generator().manual_seed(derived(seed, 3))
    pool = torch.empty(0, dtype=torch.int64)
    for step in itertools.count():
        draw = torch.rand((), generator=draws, dtype=torch.float64).item()
        count = schedule.labelled(batch_size, step // per_epoch, draw)
        if not 0 <= count <= batch_size:
            raise DeclarationError(
                f"{type(schedule).__name__}.labelled",
                got=count,
                expected=f"how many of a batch are labelled, 0 to {batch_size}",
                fix="Bring it into this range.",
            )
        everyones = count * group.size
        while len(pool) < everyones:
            shuffled = torch.randperm(len(labelled), generator=shuffles)
            pool = torch.cat([pool, labelled[shuffled]])
        chosen, pool = group.share(pool[:everyones]), pool[everyones:]
        if step >= start:
            yield torch.cat([chosen, next(order)[0][: batch_size - count]]), count
