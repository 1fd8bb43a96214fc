"""What the trunks of trained runs see: clusters of their features, and probes with few labels.

    python benchmarks/features.py runs/mnist runs/mnist-digit-plain
    python benchmarks/features.py runs/mnist --clusters 10 --probes 100 all --draws 3

The runs are of one experiment, such as an InfoGAN and the plain GAN beside it; images and labels
are the experiment's.
"""

import argparse
import time
from pathlib import Path

from pyro_infogan import InfoGAN
from pyro_infogan.datasets import ImageSet
from pyro_infogan.devices import usable_device
from pyro_infogan.evaluation import Clustering, cluster_features, clusterings, probe
from pyro_infogan.models import built_in, load_file
from pyro_infogan.runs import Run


def images(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a run's experiment."""
    run = Run(folder)
    kept = run.experiment_file()
    experiment = load_file(*kept)[0] if kept else built_in()[run.experiment() or ""]
    return experiment.images(True, run.data()), experiment.images(False, run.data())


def row(folder: Path, what: str, found: Clustering) -> str:
    """A line of the table of clusters."""
    return f"| {folder} | {what} | {found.accuracy:.4f} | {found.nmi:.4f} | {found.ari:.4f} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--probes", nargs="*", default=["100", "all"])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    options = parser.parse_args()
    device = usable_device(options.device)

    print("| run | categories | accuracy | NMI | ARI |")
    print("|---|---|---|---|---|")
    for folder in options.runs:
        gan, (train, test) = InfoGAN.load(folder, device), images(folder)
        for name, found in clusterings(gan, test).items():
            print(row(folder, f"Q's, of {name}", found))
        start = time.perf_counter()
        clusters = cluster_features(gan, train, test, options.clusters, options.seed)
        seconds = time.perf_counter() - start
        print(row(folder, f"k-means, {clusters.width} trunk features", clusters.trunk))
        print(
            row(folder, f"k-means, raw pixels (both {seconds:.0f} s)", clusters.pixels), flush=True
        )

    print("\n| run | labels | trunk | untrained trunk | raw pixels | seconds |")
    print("|---|---|---|---|---|---|")
    for folder in options.runs:
        gan, (train, test) = InfoGAN.load(folder, device), images(folder)
        for each in options.probes:
            start = time.perf_counter()
            # Draws of all labels hardly differ, and each takes long.
            labels, draws = (None, 1) if each == "all" else (int(each), options.draws)
            found = probe(gan, train, test, labels, draws, options.seed)
            seconds = time.perf_counter() - start
            print(
                f"| {folder} | {found.fitted} | {found.trunk} | {found.random} | {found.pixels} "
                f"| {seconds:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
