"""A callback of your own: every line of metrics also goes into a CSV file.

    python examples/callback_csv.py

``train`` calls ``on_log`` after each line. What it draws or switches changes nothing of the run.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyro.distributions as dist
import torch

from pyro_infogan import InfoGAN, datasets, train


class CSV:
    """Writes metrics as rows under the names of their columns.

    Not every line has every column: with labels, one without a labelled step has no score of
    theirs. So the columns are named beforehand.
    """

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path, self.columns = Path(path), columns
        with self.path.open("w", newline="") as file:
            csv.DictWriter(file, columns).writeheader()

    def on_log(self, step: int, metrics: Mapping[str, float], gan: InfoGAN) -> None:
        """Write one row."""
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, extrasaction="ignore").writerow(metrics)


def main(steps: int = 500) -> list[dict[str, float]]:
    gan = InfoGAN({"digit": dist.Categorical(torch.ones(10))}, image_shape=(1, 28, 28))
    columns = ("step", "loss_d", "loss_g", "info/digit", "images_per_s")
    callbacks = [CSV("metrics.csv", columns)]
    return train(gan, datasets.mnist(), steps=steps, callbacks=callbacks)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
