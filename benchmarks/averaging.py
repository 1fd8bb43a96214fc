"""What averaging gradients over processes costs beside a step, and on paper for more devices.

    python benchmarks/averaging.py                      # 1 process against 2, here
    python benchmarks/averaging.py --experiment chairs --rounds 10
    python benchmarks/averaging.py --paper              # the tables of docs/scaling.md

Each setting is a ``torchrun`` of its own. Beside the median time of a step stands what processor
time a process took for it, which other work on the machine lengthens little; the load before each
setting is said too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

# Processes, batch of each, threads of each.
SETTINGS = ((1, 64, 1), (1, 128, 1), (1, 128, 2), (2, 64, 1))
WARM = 3


def timed(call: Callable[[], object], rounds: int) -> list[tuple[float, float]]:
    """Milliseconds of each round, and of the processor in it, all threads together."""
    found = []
    for _ in range(rounds):
        _wait()
        start, used = time.perf_counter(), time.process_time()
        call()
        _wait()
        found.append((1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - used)))
    return found


def medians(rounds: list[tuple[float, float]]) -> list[float]:
    """Of the time and of the processor's, a round."""
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(experiment: str, batch: int, threads: int, rounds: int) -> None:
    """In each process: time steps, and messages of their size with no step between them."""
    import pyro
    import torch.distributed as dist

    from pyro_infogan import InfoGAN
    from pyro_infogan.devices import fast_precision, keep_memory
    from pyro_infogan.distributed import join
    from pyro_infogan.inference import Step
    from pyro_infogan.models import built_in

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    # As train does.
    keep_memory()
    pyro.enable_validation(False)
    declared = built_in()[experiment]
    with join() as group:
        gan = InfoGAN.from_experiment(declared).to(group.device).train()
        sizes, spent = [], []

        def average(weights):
            sizes.append(sum(weight.numel() for weight in weights))
            spent.extend(timed(lambda: group.average(weights), 1))

        precision = fast_precision(group.device)
        step = Step(gan, declared.objective, declared.rates, precision, average=average)
        real = torch.rand(batch, *declared.image_shape, device=group.device)
        for _ in range(WARM):
            step(real)
        spent.clear()
        steps = timed(lambda: step(real), rounds)
        # Each player's, in turn.
        players = [medians(spent[place::2]) for place in (0, 1)]
        messages = [torch.rand(size, device=group.device) for size in sizes[:2]]
        alone = [(0.0, 0.0)]
        if group.size > 1:
            alone = timed(lambda: [dist.all_reduce(each) for each in messages], rounds)
        if group.first:
            found = {
                "processes": group.size,
                "batch": batch,
                "threads": threads,
                "step": medians(steps),
                "averaging": [sum(each) for each in zip(*players, strict=True)],
                "all_reduce": medians(alone),
                "megabytes": 4e-6 * sum(sizes[:2]),
                "precision": str(precision),
            }
            print(json.dumps(found), flush=True)


def launch(experiment: str, setting: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    """One setting, in processes of its own."""
    processes, batch, threads = setting
    words = [experiment, batch, threads, rounds]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    meeting += ["--local-addr", "127.0.0.1"]
    done = subprocess.run(
        [*launcher, *meeting, __file__, "--measure", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


# On paper


@dataclass(frozen=True)
class Machines:
    """Assumed machines and their network.

    Attributes:
        name: what they are.
        devices: of each machine.
        inside: bytes a second of an all_reduce between devices of one machine.
        between: bytes a second of a machine's network.
        hop: seconds that a message takes from one device to another.
        copying: bytes a second of bringing gradients into one message and back.
    """

    name: str
    devices: int
    inside: float
    between: float
    hop: float
    copying: float

    def milliseconds(self, megabytes: float, devices: int, messages: int = 2) -> float:
        """Of averaging over ``devices``: a ring's bytes over its slowest link, and a tree's hops.

        A ring enters and leaves each machine once, so that the machine's whole network serves it.
        """
        size = megabytes * 1e6
        slowest = self.between if devices > self.devices else self.inside
        moved = 2 * (devices - 1) / devices * size / slowest
        hops = 2 * (devices - 1).bit_length()
        return 1e3 * (size / self.copying + moved + messages * hops * self.hop)


FAST = Machines("8 GPUs, NVLink, a 400 Gbit/s port each", 8, 150e9, 150e9, 1e-5, 4e11)
ONE_PORT = Machines("8 GPUs, NVLink, one 100 Gbit/s port", 8, 150e9, 11e9, 1e-5, 4e11)
CORE = Machines("one core, 10 Gbit/s", 1, 1.1e9, 1.1e9, 5e-5, 3.8e9)
# Experiment, machines, and milliseconds of a step of 128 images on one device: of GPUs what this
# project aims at, of a core what was measured.
CASES = (
    ("mnist", FAST, 2.0),
    ("mnist", ONE_PORT, 2.0),
    ("chairs", FAST, 6.4),
    ("chairs", ONE_PORT, 6.4),
    ("mnist", CORE, 722.0),
)


def paper() -> None:
    """A table of what averaging takes and what share of the devices' time is left."""
    from pyro_infogan import InfoGAN
    from pyro_infogan.models import built_in

    counts = (8, 64, 1024)
    print("| experiment | machines | a step alone | " + " | ".join(map("{:,}".format, counts)), "|")
    print("|---" * (3 + len(counts)) + "|")
    for experiment, machines, step in CASES:
        gan = InfoGAN.from_experiment(built_in()[experiment])
        megabytes = 4e-6 * sum(weight.numel() for weight in gan.parameters())
        cells = []
        for devices in counts:
            averaging = machines.milliseconds(megabytes, devices)
            share = step / (step + averaging)
            cells.append(f"{averaging:.3g} ms, {share:.0%}, {devices * share:,.0f}×")
        row = (f"{experiment}, {megabytes:.0f} MB", machines.name, f"{step:g} ms", *cells)
        print("| " + " | ".join(row) + " |")


def main() -> None:
    """Measure here, or calculate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", default="mnist")
    parser.add_argument("--rounds", type=int, default=10, help="steps that are timed")
    parser.add_argument("--paper", action="store_true", help="calculate for more devices")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        experiment, *numbers = asked.measure
        measure(experiment, *map(int, numbers))
    elif asked.paper:
        paper()
    else:
        print("| processes × batch | threads | step | in averaging | all_reduce alone | load |")
        print("|---|---|---|---|---|---|")
        for setting in SETTINGS:
            load = os.getloadavg()[0]
            found = launch(asked.experiment, setting, asked.rounds)
            cells = [
                "{:.0f} ms ({:.0f})".format(*found[name])
                for name in ("step", "averaging", "all_reduce")
            ]
            where = "| {processes} × {batch} | {threads} each |".format(**found)
            print(where, " | ".join(cells), f"| {load:.1f} |", flush=True)
        print("{megabytes:.1f} MB of gradients a step, networks in {precision}".format(**found))


if __name__ == "__main__":
    main()
