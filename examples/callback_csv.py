"""A callback of your own: every line of metrics also goes into a CSV file.

    python examples/callback_csv.py

``train`` calls ``on_log`` after each line. What it draws or switches changes nothing of the run.
"""

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import pyro.distributions as dist
import torch

from pyro_infogan import InfoGAN, datasets, train


class CSV:
    """Writes metrics as rows; the first line names the columns."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.unlink(missing_ok=True)

    def on_log(self, step: int, metrics: Mapping[str, float], gan: InfoGAN) -> None:
        """Write one row."""
        first = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=metrics)
            if first:
                writer.writeheader()
            writer.writerow(metrics)


def main(steps: int = 500) -> list[dict[str, float]]:
    gan = InfoGAN({"digit": dist.Categorical(torch.ones(10))}, image_shape=(1, 28, 28))
    return train(gan, datasets.mnist(), steps=steps, callbacks=[CSV("metrics.csv")])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
