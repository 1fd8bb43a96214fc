"""Train an experiment from several seeds, evaluate each run, and print every value.

    python benchmarks/seeds.py mnist --seeds 5
    python benchmarks/seeds.py mnist --seeds 5 --first 5
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
    """how many, one after another"""
    first: int = 0
    """the first of them"""
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
    sweeps: bool = False
    """also say what sweeping the best code of each factor moves"""
    out: Path = Path("runs/seeds")
    """where the run folders go"""


def threads(workers: int) -> int:
    """Of each of so many processes that share the cores."""
    return max(1, (os.cpu_count() or 1) // workers)


def start(folder: Path, command: str, *options: str, workers: int) -> None:
    """Train a run, go on with it, or evaluate it: a process of its own, one of so many at a time.

    What it says goes to the folder's log.txt.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads(workers))}
    program = [sys.executable, "-m", "pyro_infogan", command, *options]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        subprocess.run(program, env=environment, stderr=log, stdout=log, check=True)


def run(settings: Seeds, seed: int) -> dict:
    """One seed's report."""
    path, _, name = settings.experiment.partition(":")
    chosen = [settings.variation] if settings.variation else []
    chosen += ["plain"] if settings.plain_gan else []
    chosen += [settings.precision] if settings.precision else []
    folder = settings.out / "-".join([name or Path(path).stem, *chosen, str(seed)])
    train = [settings.experiment, "--seed", str(seed), "--out", str(folder), "--resume"]
    train += ["--steps", str(settings.steps)] if settings.steps else []
    train += ["--batch-size", str(settings.batch_size)] if settings.batch_size else []
    train += ["--variation", settings.variation] if settings.variation else []
    train += ["--plain-gan"] if settings.plain_gan else []
    train += ["--precision", settings.precision] if settings.precision else []
    start(folder, "train", *train, workers=settings.workers)
    measure = [str(folder), *(["--sweeps"] if settings.sweeps else [])]
    start(folder, "evaluate", *measure, workers=settings.workers)
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

    Accuracy, NMI and ARI of each code with categories; of each factor, what its best code has, and
    what sweeping that code moves, where it was measured.
    """
    values = {f"L_I({name})": info["bound"] for name, info in report["information"].items()}
    for name, found in report["clustering"].items():
        values |= {f"{key}({name})": found[key] for key in ("accuracy", "nmi", "ari")}
    values |= {
        f"{found['measure']}({name})": found["value"] for name, found in report["following"].items()
    }
    swept = report["sweeps"]["moved"] if report["sweeps"] else {}
    for factor, found in report["following"].items():
        for code in {found["code"], f"{found['code']}[{found['element']}]"} & swept.keys():
            moved = dict(swept[code])
            values[f"moved by its code({factor})"] = moved.pop(factor)
            values[f"moves others at most, code of({factor})"] = max(moved.values(), default=0.0)
    return {key: round(value, 4) for key, value in values.items()}


def main() -> None:
    """Run all seeds and print a row for each measure: every value, and three of them."""
    settings = tyro.cli(Seeds)
    with ThreadPoolExecutor(settings.workers) as pool:
        seeds = range(settings.first, settings.first + settings.seeds)
        reports = list(pool.map(lambda seed: run(settings, seed), seeds))
    rows = [summary(report) for report in reports]
    measured = f"seeds {seeds[0]} to {seeds[-1]}"
    print(f"| {settings.experiment} | {measured} | greatest | median | least |")
    print("|---|---|---|---|---|")
    # What a factor is measured by may differ from run to run.
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row[key] for row in rows if key in row]
        every = ", ".join(f"{row[key]:.4f}" if key in row else "–" for row in rows)
        three = (max(values), statistics.median(values), min(values))
        print(f"| {key} | {every} | {' | '.join(f'{value:.4f}' for value in three)} |")


if __name__ == "__main__":
    main()
