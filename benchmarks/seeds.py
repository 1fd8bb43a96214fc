"""Train an experiment from several seeds, evaluate each run, and print every value.

    python benchmarks/seeds.py mnist --seeds 5
    python benchmarks/seeds.py faces --variation elevation --seeds 5 --steps 1500

Each run is a process of its own with its share of the cores. Runs that are already there go on, or
are only evaluated, so that the command can be repeated after an interruption.
"""

import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional


@dataclass(frozen=True)
class Seeds:
    """What to run."""

    experiment: Positional[str]
    """built-in name or experiment file"""
    seeds: int = 5
    """how many, from 0 up"""
    workers: int = 2
    """runs at a time, each with its share of the cores"""
    steps: int | None = None
    """the experiment's by default"""
    batch_size: int | None = None
    """the experiment's by default"""
    variation: str | None = None
    """of the experiment, such as elevation"""
    plain_gan: bool = False
    """train the baseline"""
    precision: Literal["float32", "bfloat16"] | None = None
    """what the networks compute in; the fastest of this machine by default"""
    out: Path = Path("runs/seeds")
    """where the run folders go"""


def run(settings: Seeds, seed: int) -> dict:
    """One seed's report."""
    path, _, name = settings.experiment.partition(":")
    chosen = [settings.variation] if settings.variation else []
    chosen += ["plain"] if settings.plain_gan else []
    chosen += [settings.precision] if settings.precision else []
    folder = settings.out / "-".join([name or Path(path).stem, *chosen, str(seed)])
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    program = [sys.executable, "-m", "pyro_infogan"]
    train = [*program, "train", settings.experiment, "--seed", str(seed), "--out", str(folder)]
    train += ["--steps", str(settings.steps)] if settings.steps else []
    train += ["--batch-size", str(settings.batch_size)] if settings.batch_size else []
    train += ["--variation", settings.variation] if settings.variation else []
    train += ["--plain-gan"] if settings.plain_gan else []
    train += ["--precision", settings.precision] if settings.precision else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        subprocess.run([*train, "--resume"], env=environment, stderr=log, stdout=log, check=True)
    subprocess.run(
        [*program, "evaluate", str(folder)], env=environment, stdout=subprocess.DEVNULL, check=True
    )
    report = json.loads((folder / "report.json").read_text())
    print(f"seed {seed}: {minutes(folder):.1f} min, {summary(report)}", flush=True)
    return report


def minutes(folder: Path) -> float:
    """How long the steps of a run took, all of its resumed parts together."""
    batch_size = json.loads((folder / "run.json").read_text())["settings"]["batch_size"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [0] + [line["step"] for line in lines]
    pairs = zip(lines, steps[:-1], strict=True)
    images = [
        ((line["step"] - before) * batch_size, line["images_per_s"]) for line, before in pairs
    ]
    return sum(count / speed for count, speed in images) / 60


def summary(report: dict) -> dict[str, float]:
    """L_I of every code in nats, and what is known of labels and factors.

    Accuracy, NMI and ARI of each code with categories; of each factor, what its best code has.
    """
    values = {f"L_I({name})": info["bound"] for name, info in report["information"].items()}
    for name, found in report["clustering"].items():
        values |= {f"{key}({name})": found[key] for key in ("accuracy", "nmi", "ari")}
    values |= {
        f"{found['measure']}({name})": found["value"] for name, found in report["following"].items()
    }
    return {key: round(value, 4) for key, value in values.items()}


def main() -> None:
    """Run all seeds and print a row for each measure: every value, median, worst."""
    settings = tyro.cli(Seeds)
    with ThreadPoolExecutor(settings.workers) as pool:
        reports = list(pool.map(lambda seed: run(settings, seed), range(settings.seeds)))
    rows = [summary(report) for report in reports]
    print(f"| {settings.experiment} | seeds 0 to {settings.seeds - 1} | best | median | worst |")
    print("|---|---|---|---|---|")
    for key in rows[0]:
        values = [row[key] for row in rows]
        every = ", ".join(f"{value:.4f}" for value in values)
        three = (max(values), statistics.median(values), min(values))
        print(f"| {key} | {every} | {' | '.join(f'{value:.4f}' for value in three)} |")


if __name__ == "__main__":
    main()
