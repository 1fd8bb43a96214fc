"""Categories that nobody named, against labels: best matching, NMI and ARI."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor
from torch.distributions import Distribution

from ..errors import DataError

__all__ = ["Clustering", "categories", "cluster"]


@dataclass(frozen=True)
class Clustering:
    """How well categories agree with labels.

    Attributes:
        accuracy: share of images whose category is matched to their label, under the best
            one-to-one matching.
        nmi: normalised mutual information (arithmetic mean of the entropies), in [0, 1].
        ari: adjusted Rand index, 1 at best, 0 for chance.
        confusion: counts, one row a category and one column a label.
        matching: label of each category, in order; None for one that is left over.
    """

    accuracy: float
    nmi: float
    ari: float
    confusion: list[list[int]]
    matching: list[int | None]

    @property
    def images(self) -> int:
        """How many images it was measured on: those with a label."""
        return sum(map(sum, self.confusion))

    @property
    def order(self) -> list[int]:
        """Categories in the order of the labels matched to them, those left over last."""
        places = range(len(self.matching))
        return sorted(places, key=lambda row: (self.matching[row] is None, self.matching[row] or 0))


def categories(posterior: Distribution) -> Tensor:
    """The most probable value of an enumerable posterior, as an index with its batch shape."""
    return posterior.log_prob(posterior.enumerate_support(expand=False)).argmax(0)


def cluster(found: Tensor, labels: Tensor, count: int) -> Clustering:
    """Compare categories with labels.

    Args:
        found: category of each image, (n,), from 0 to ``count`` − 1.
        labels: its label, (n,), from 0 up.
        count: how many categories there are, used or not.

    Raises:
        DataError: for labels of another length or below 0.

    Example:
        >>> import torch
        >>> result = cluster(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 0]), 2)
        >>> result.accuracy, result.matching
        (0.75, [1, 0])
    """
    if found.shape != labels.shape or len(labels) == 0 or labels.min() < 0:
        raise DataError(
            "labels",
            got=f"shape {tuple(labels.shape)}",
            expected=f"{tuple(found.shape)}, whole numbers from 0 up",
            fix="Give one label for each image.",
        )
    mine, theirs = found.cpu().numpy(), labels.cpu().numpy()
    table = np.zeros((count, int(theirs.max()) + 1), int)
    np.add.at(table, (mine, theirs), 1)
    rows, columns = linear_sum_assignment(-table)
    held = {int(row) for row, column in zip(rows, columns, strict=True) if table[row, column]}
    label_of = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return Clustering(
        accuracy=float(table[rows, columns].sum() / len(mine)),
        nmi=float(normalized_mutual_info_score(theirs, mine)),
        ari=float(adjusted_rand_score(theirs, mine)),
        confusion=table.tolist(),
        # Matched to a label that no image of it has, it is left over.
        matching=[label_of.get(row) if row in held else None for row in range(count)],
    )
