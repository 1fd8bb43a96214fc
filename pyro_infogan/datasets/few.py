"""Labels of a few images, the others taken away."""

import torch
from torch import Tensor

from ..errors import DataError, checked_count
from ..randomness import derived

__all__ = ["few_labels"]


def few_labels(labels: Tensor, n: int, *, balanced: bool = False, seed: int = 0) -> Tensor:
    """The labels with all but ``n`` of them taken away: −1 among whole numbers, NaN among floats.

    Args:
        labels: (images, ...), whole numbers with −1, or floats with NaN, where there is none.
        n: how many images keep theirs.
        balanced: whether each class keeps as many as any other, or one more, in classes drawn by
            the seed, where their number does not divide ``n``; otherwise they are drawn evenly from
            all labelled images.
        seed: of the draw.

    Raises:
        DataError: for more than there are, of any class where balanced; for floats to balance.

    Example:
        >>> few_labels(torch.tensor([0, 1, 2, 0, 1, 2]), 3, balanced=True).sort().values
        tensor([-1, -1, -1,  0,  1,  2])
    """
    checked_count("number of labels", n, least=1)
    generator = torch.Generator().manual_seed(derived(seed, n))
    numbers = labels.is_floating_point()
    rows = labels.reshape(len(labels), -1)
    known = (~rows.isnan() if numbers else rows != -1).all(1).nonzero().squeeze(-1)
    known = known[torch.randperm(len(known), generator=generator)]
    if balanced:
        known = _balanced(labels, known, n, generator)
    if len(known) < n:
        raise DataError(
            "number of labels",
            got=n,
            expected=f"at most {len(known)}, which there are",
            fix="Ask for fewer.",
        )
    kept = torch.full_like(labels, float("nan") if numbers else -1)
    kept[known[:n]] = labels[known[:n]]
    return kept


def _balanced(labels: Tensor, known: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Images in an order that takes one of each class in turn."""
    if labels.is_floating_point() or labels.dim() != 1:
        raise DataError(
            "labels",
            got=f"{labels.dtype} of shape {tuple(labels.shape)}",
            expected="classes, to have as many of each",
            fix="Leave balanced out.",
        )
    kinds = labels[known].unique()
    kinds = kinds[torch.randperm(len(kinds), generator=generator)]
    places = [known[labels[known] == kind] for kind in kinds]
    most = min(-(-n // len(places)), max(map(len, places))) if places else 0
    short = min((len(each) for each in places), default=0)
    if short < n // max(1, len(places)):
        raise DataError(
            "number of labels",
            got=n,
            expected=f"at most {short} of each of {len(places)} classes",
            fix="Ask for fewer, or leave balanced out.",
        )
    turns = [
        torch.stack([each[turn] for each in places if turn < len(each)]) for turn in range(most)
    ]
    return torch.cat(turns)
