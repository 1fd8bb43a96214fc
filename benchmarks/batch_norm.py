"""What Q reads by running statistics of batch norm, and by those that training ends with.

    python benchmarks/batch_norm.py runs/mnist runs/faces

For each checkpoint of the runs prints L_I of each code in nats, their sum, and
accuracy where there are labels: of the checkpoint as it is, and with its statistics taken anew, as
``train`` does after the last step. Checkpoints from before that step hold running ones; that of the
last step holds those taken anew already, but for runs of code that did not do so yet.
"""

from pathlib import Path

import tyro
from features import images
from tyro.conf import Positional

from pyro_infogan import InfoGAN
from pyro_infogan.datasets import ImageSet
from pyro_infogan.evaluation import clusterings
from pyro_infogan.randomness import seeded
from pyro_infogan.runs import Run
from pyro_infogan.training.statistics import renew_statistics

DRAWS = 10_000


def row(gan: InfoGAN, held_out: ImageSet) -> str:
    """L_I of each code, the sum, and accuracies."""
    with seeded(0):
        bounds = [found.bound for found in gan.information(DRAWS).values()]
    values = [f"{bound:.3f}" for bound in bounds] + [f"{sum(bounds):.3f}"]
    values += [f"{found.accuracy:.4f}" for found in clusterings(gan, held_out).values()]
    return " | ".join(values)


def main(folders: Positional[tuple[Path, ...]]) -> None:
    """Two rows for each checkpoint."""
    for folder in folders:
        run, (train, held_out) = Run(folder), images(folder)
        record = run.record()
        assert record is not None, f"{folder} is no run"
        for step, path in run.checkpoints():
            gan = InfoGAN.load(folder).restore(path)
            print(f"| {folder}, step {step}, as it is | {row(gan, held_out)} |", flush=True)
            gan.train()
            renew_statistics(gan, train.images, record["settings"]["batch_size"], seed=0)
            print(f"| {folder}, step {step}, anew | {row(gan.eval(), held_out)} |", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
