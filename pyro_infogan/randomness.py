"""Draws that follow from a seed and leave the caller's random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derived", "seeded"]


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch draws from ``seed`` on the CPU and on ``device``; afterwards all is as before.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def derived(*parts: int) -> int:
    """A seed of its own for each use, so that no two streams of draws are the same."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
