"""Draws that follow from a seed and leave the caller's random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derived", "seeded"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU and every CUDA GPU in use draw from ``seed``; afterwards all is as before.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    # GPUs that wait for their first use have no state to keep, but perhaps a seed of the caller's.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus, device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield


def derived(*parts: int) -> int:
    """A seed of its own for each use, so that no two streams of draws are the same."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
