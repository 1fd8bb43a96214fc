"""Draws that follow from a seed and leave the caller's random state as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .errors import DataError, checked_count

__all__ = ["checked_seed", "derived", "seeded"]


def checked_seed(seed: Any, what: str = "seed") -> int:
    """``seed``, if it is one that torch takes.

    Raises:
        DataError: otherwise.
    """
    seed = checked_count(what, seed, least=0)
    if seed >= 2**63:
        raise DataError(
            what, got=seed, expected="a whole number from 0 to 2^63 − 1", fix="Choose another."
        )
    return seed


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU and every CUDA GPU in use draw from ``seed``; afterwards all is as before.

    Raises:
        DataError: for what is no seed.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    seed = checked_seed(seed)
    # GPUs that wait for their first use have no state to keep, but perhaps a seed of the caller's.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus, device_type="cuda"):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed_all(seed)
        yield


def derived(*parts: int) -> int:
    """A seed of its own for each use, so that no two streams of draws are the same.

    Raises:
        DataError: for what is no seed among the parts.
    """
    return int(np.random.SeedSequence([checked_seed(part) for part in parts]).generate_state(1)[0])
