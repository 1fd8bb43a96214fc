"""Semi-supervised InfoGAN: how much a few labels give, over seeds.

    python benchmarks/few_labels.py --labelled 0 60 132 600 6000 --seeds 5

For each number of labels: accuracy of Q on the 10,000 test images without any matching; accuracy of
an independent classifier, trained on all of MNIST, on images generated class by class; and accuracy
of a supervised network of the trunk's shape on the same labels. InfoGAN without labels, for which 0
stands, has its categories matched to digits on the test images. Runs that are there go on, or are
only measured; a supervised network that is there is not fitted again.
"""

import json
import statistics
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
import tyro
from seeds import start, threads
from torch import Tensor, nn

from pyro_infogan import InfoGAN, datasets
from pyro_infogan.evaluation import cluster
from pyro_infogan.images import scaled
from pyro_infogan.models import networks
from pyro_infogan.models.mnist import handwriting
from pyro_infogan.randomness import seeded

PER_CLASS = 1_000
"""Images generated of each class."""


@dataclass(frozen=True)
class FewLabels:
    """What to run."""

    labelled: tuple[int, ...] = (132,)
    """how many labels; 0 for InfoGAN alone"""
    seeds: int = 5
    """how many, from 0 up"""
    workers: int = 2
    """runs at a time, each with its share of the cores"""
    steps: int | None = None
    """the experiment's by default"""
    batch_size: int = 128
    """of the runs and of the supervised networks"""
    out: Path = Path("runs/few_labels")
    """where the run folders and the classifier go"""


def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose most probable class is their label."""
    network.eval()
    with torch.no_grad():
        found = torch.cat([network(scaled(part)).argmax(-1) for part in images.split(1_000)])
    return (found == labels).double().mean().item()


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    steps: int,
    seed: int,
    batch_size: int = 128,
) -> nn.Module:
    """Train a classifier on distorted images, as the digit code is."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    network.train()
    with seeded(seed):
        for _ in range(steps):
            chosen = torch.randint(len(images), (batch_size,))
            distorted = handwriting(scaled(images[chosen]))
            loss = F.cross_entropy(network(distorted), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network


def judge(out: Path) -> nn.Module:
    """An independent classifier, trained on all real training digits; kept beside the runs."""
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    file = out / "judge.pt"
    if file.exists():
        network.load_state_dict(torch.load(file, weights_only=True))
        return network
    digits = datasets.mnist()
    with seeded(0):
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.reset_parameters()
    fit(network, digits.images, digits.labels, steps=4_000, seed=0)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)
    return network


def supervised(labelled: int, batch_size: int, out: Path, seed: int) -> float:
    """Test accuracy of the trunk and Q's layers on the same labels, with the same distortions."""
    file = out / f"supervised-{labelled}-{seed}.json"
    if file.exists():
        return json.loads(file.read_text())
    digits, held_out = datasets.mnist(), datasets.mnist(train=False)
    labels = datasets.few_labels(digits.labels, labelled, seed=seed)
    known = (labels >= 0).nonzero().squeeze(-1)
    with seeded(seed):
        pair = networks.paper_mnist((1, 28, 28), 74)
        layers = networks.posterior_layer(pair.features, pair.hidden)
        network = nn.Sequential(pair.trunk, layers, nn.Linear(pair.hidden, 10))
    fit(network, digits.images[known], labels[known], 1_000, seed, batch_size)
    found = accuracy(network, held_out.images, held_out.labels)
    file.write_text(json.dumps(found))
    return found


def run(settings: FewLabels, labelled: int, seed: int) -> Path:
    """The folder of one trained run."""
    folder = settings.out / f"{labelled}-{seed}"
    train = ["mnist", "--seed", str(seed), "--out", str(folder), "--resume"]
    train += ["--batch-size", str(settings.batch_size)]
    train += ["--labelled", str(labelled)] if labelled else []
    train += ["--steps", str(settings.steps)] if settings.steps else []
    start(folder, "train", *train, workers=settings.workers)
    return folder


def measure(folder: Path, network: nn.Module, matched: bool) -> dict[str, float]:
    """Q on real test digits, and the classifier on generated ones.

    Category k is taken for digit k, unless it is first to be matched.
    """
    gan = InfoGAN.load(folder)
    held_out = datasets.mnist(train=False)
    found = gan.infer(held_out.images)["digit"].probs.argmax(-1)
    matching = cluster(found, held_out.labels, 10).matching if matched else range(10)
    digit_of = torch.tensor([-1 if label is None else label for label in matching])
    classes = torch.arange(10).repeat_interleave(PER_CLASS)
    with seeded(0):
        generated = gan.generate(len(classes), {"digit": classes})
    return {
        "Q on test images": (digit_of[found] == held_out.labels).double().mean().item(),
        "classifier on generated images": accuracy(network, generated, digit_of[classes]),
    }


def main() -> None:
    """Train, measure, and print a row for each measure: every value, median, worst."""
    settings = tyro.cli(FewLabels)
    network = judge(settings.out)
    held_out = datasets.mnist(train=False)
    print(f"the classifier's own accuracy: {accuracy(network, held_out.images, held_out.labels)}")
    print("| labels | measure | every value | median | worst |")
    print("|---|---|---|---|---|")
    for labelled in settings.labelled:
        seeds = range(settings.seeds)
        with ThreadPoolExecutor(settings.workers) as pool:
            folders = list(pool.map(lambda seed, n=labelled: run(settings, n, seed), seeds))
        rows = [measure(folder, network, matched=not labelled) for folder in folders]
        if labelled:
            # Processes, since a draw's seed is the whole process's.
            workers, share = settings.workers, threads(settings.workers)
            with ProcessPoolExecutor(
                workers, get_context("spawn"), torch.set_num_threads, (share,)
            ) as pool:
                alone = partial(supervised, labelled, settings.batch_size, settings.out)
                for row, found in zip(rows, pool.map(alone, seeds), strict=True):
                    row["supervised, the same labels"] = found
        for name in rows[0]:
            values = [row[name] for row in rows]
            every = ", ".join(f"{value:.4f}" for value in values)
            middle, worst = statistics.median(values), min(values)
            print(f"| {labelled} | {name} | {every} | {middle:.4f} | {worst:.4f} |", flush=True)


if __name__ == "__main__":
    main()
