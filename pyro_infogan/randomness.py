"""Draws that follow from a seed and leave the caller's random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derived", "seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from ``seed``, on any device; afterwards all is as before.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    # GPUs that wait for their first use have no state to keep, but perhaps a seed of the caller's.
    waiting = torch.cuda.is_available() and not gpus
    with torch.random.fork_rng(devices=gpus):
        (torch.default_generator if waiting else torch).manual_seed(seed)
        yield


def derived(*parts: int) -> int:
    """A seed of its own for each use, so that no two streams of draws are the same."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
