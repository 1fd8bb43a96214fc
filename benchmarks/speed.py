"""How fast a step is, beside a textbook's and beside the machine's own limit: ``make bench``.

    python benchmarks/speed.py

All variants take turns, so that whatever else the machine does meets all alike, each in a process
of its own, so that none gains by how another has its memory kept. A round is a few steps of each;
what counts are medians over rounds, of seconds and of ratios within a round. Loading the data is
part of a step, the first steps are not. Run it on an idle machine: it writes
``benchmarks/results.json``, which keeps the newest results of each experiment on each
kind of machine, and ``docs/speed.md``.
"""

import json
import multiprocessing
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self
from unittest import mock

import pyro
import textbook
import torch
import tyro
from pyro import poutine
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from pyro_infogan import InfoGAN, datasets, models
from pyro_infogan.devices import fast_precision, keep_memory, made_by_amd, usable_device
from pyro_infogan.images import scaled
from pyro_infogan.inference import Step, sample_codes
from pyro_infogan.inference.step import Drawn
from pyro_infogan.models import Experiment, convolution, networks

HERE = Path(__file__).parent
PLAIN, LEAN = "textbook", "textbook, two optimisers"
FULL, FAST = "ours, float32", "ours"
GAN, TRACED, FLOOR = "ours, without codes", "ours, through poutine", "floor"
APART = "ours, batch by batch"
COMPILED = "ours, compiled"
_SETTLE = 0.3
"""Seconds before a turn."""


class WithoutCodes(Step):
    """A GAN alone: Q is never asked."""

    def _see(self, *asked):
        return super()._see(*((images, ()) for images, _ in asked))

    def _bound(self, codes, seen, attached, skip=()):
        return seen.plain.new_zeros(len(seen.plain), dtype=torch.float32), {}


class Traced(Step):
    """The same step by Pyro's own means: the model traced, the guide conditioned and traced."""

    def draw(self, n: int) -> Drawn:
        """From a trace of the model."""
        device = self.gan.device
        with self._autocast(device):
            trace = poutine.trace(self.gan.model).get_trace(n)
        codes = {name: trace.nodes[name]["value"] for name in self.gan.prior.sites}
        return Drawn(codes, trace.nodes["_RETURN"]["value"])

    def _bound(self, codes, seen, attached, skip=()):
        gan, features = self.gan, seen.plain
        posterior = gan.posterior(features if attached else features.detach())

        def guide() -> None:
            with pyro.plate("images", len(features)):
                sample_codes(gan.prior, posterior)

        def prior() -> None:
            with pyro.plate("images", len(features)):
                gan.prior()

        with self._float32(features):
            scored = []
            for program in (guide, prior):
                trace = poutine.trace(poutine.condition(program, data=codes)).get_trace()
                trace.compute_log_prob()
                scored.append({name: trace.nodes[name]["log_prob"] for name in codes})
        info = {name: scored[0][name] - scored[1][name] for name in codes}
        total = torch.stack([self.weights[name] * value for name, value in info.items()]).sum(0)
        return total, {name: value.detach().mean() for name, value in info.items()}


class Products(TorchDispatchMode):
    """Keeps every convolution and matrix product that it sees, with what went in.

    A convolution counts whole in whichever form a layer has it: where that is a product of
    matrices, the gathering of its windows is part of it.
    """

    KEPT = re.compile(r"aten\.(mm|addmm|bmm|convolution|convolution_backward)\.")
    FORMS = ("convolve", "adjoint", "weight_gradient")

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], Any]] = []
        self._inside = False
        self._replaced = ExitStack()

    def __enter__(self) -> Self:
        for name in self.FORMS:
            kept = self._keeping(getattr(convolution._Shape, name))
            self._replaced.enter_context(mock.patch.object(convolution._Shape, name, kept))
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        self._replaced.close()
        super().__exit__(*raised)

    def _keeping(self, form: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """A form of the convolution that is kept as one call."""

        def call(*arguments: Any) -> Tensor:
            self.calls.append(lambda: form(*arguments))
            self._inside = True
            try:
                return form(*arguments)
            finally:
                self._inside = False

        return call

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        named = named or {}
        if not self._inside and self.KEPT.match(str(function)):
            self.calls.append(lambda: function(*arguments, **named))
        return function(*arguments, **named)

    def __call__(self) -> None:
        """All of them again, back to back."""
        with torch.no_grad():
            for call in self.calls:
                call()


def recorded(run: Callable[[], None]) -> Products:
    """The products of one step."""
    run()
    with Products() as products:
        run()
    return products


def ours(
    experiment: Experiment,
    images: Tensor,
    device: torch.device,
    precision: torch.dtype,
    kind: type[Step] = Step,
    batch_size: int | None = None,
    compiled: bool = False,
    apart: bool = False,
) -> Callable[[], None]:
    """A function that trains for one step on the next batch, as ``train`` does."""
    torch.manual_seed(0)
    gan = InfoGAN.from_experiment(experiment).to(device).train()
    if apart:
        # Which is no networks.Trunk, and passes real, generated and distorted images in turn.
        gan.trunk = torch.nn.Sequential(*gan.trunk)
    if compiled:
        gan.generator.compile()
        gan.trunk.compile()
    step = kind(gan, experiment.objective, experiment.rates, precision)
    held = images.to(device)
    size = batch_size or experiment.batch_size

    def run() -> None:
        places = torch.randint(len(held), (size,)).to(device, non_blocking=True)
        with pyro.validation_enabled(False):
            step(scaled(held[places]))

    return run


Clock = Callable[[int], float]
"""Takes so many steps, and says how many seconds each took."""


def clocked(run: Callable[[], None], device: torch.device) -> Clock:
    """With a GPU's work waited for."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def clock(steps: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(steps):
            run()
        wait()
        return (time.perf_counter() - start) / steps

    return clock


def timed(clocks: Mapping[str, Clock], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of a step of each variant, in each round."""
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for turn in tqdm(range(rounds + 1), unit="round", desc="taking turns"):
        for name, clock in clocks.items():
            seconds = clock(steps)
            if turn:  # the first warms up
                found[name].append(seconds)
    return found


@dataclass(frozen=True)
class Speed:
    """What to measure."""

    rounds: int = 11
    """of which medians are taken"""
    steps: int = 4
    """of each variant in a round"""
    experiment: str = "mnist-paper"
    """whose networks, codes, images and batch are timed"""
    device: str | None = None
    """the fastest by default"""


def variants(
    settings: Speed, device: torch.device, experiment: Experiment
) -> dict[str, Callable[[], Callable[[], None]]]:
    """How each is made."""
    images = experiment.images(train=True).images
    fast = fast_precision(device)

    def floor() -> Products:
        return recorded(ours(experiment, images, device, fast))

    every: dict[str, Callable[[], Callable[[], None]]] = {
        FULL: lambda: ours(experiment, images, device, torch.float32),
        FAST: lambda: ours(experiment, images, device, fast),
        GAN: lambda: ours(experiment, images, device, fast, WithoutCodes),
        TRACED: lambda: ours(experiment, images, device, fast, Traced),
        APART: lambda: ours(experiment, images, device, fast, apart=True),
        COMPILED: lambda: ours(experiment, images, device, fast, compiled=True),
        FLOOR: floor,
    }
    if settings.experiment == "mnist-paper":
        size = experiment.batch_size
        every = {
            PLAIN: lambda: textbook.trainer(images, size, device),
            LEAN: lambda: textbook.lean_trainer(images, size, device),
        } | every
    return every


def curves(rounds: int, steps: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Images a second by batch size, and by image size with the networks for any size."""
    mnist = models.built_in()["mnist-paper"]
    digits = datasets.mnist().images
    fast = fast_precision(device)
    found = {}
    for name, made in {
        "batch size": {
            str(size): (size, ours(mnist, digits, device, fast, batch_size=size))
            for size in (16, 32, 64, 128, 256)
        },
        "image side": {
            str(side): (
                mnist.batch_size,
                ours(
                    replace(mnist, image_shape=(1, side, side), networks=networks.dcgan),
                    torch.nn.functional.interpolate(digits[:1_000].float(), (side, side)).byte(),
                    device,
                    fast,
                ),
            )
            for side in (28, 32, 64)
        },
    }.items():
        clocks = {key: clocked(run, device) for key, (_, run) in made.items()}
        seconds = timed(clocks, rounds, steps)
        found[name] = {
            key: made[key][0] / statistics.median(values) for key, values in seconds.items()
        }
    return found


def peak(device: torch.device) -> float:
    """MB of 10⁶ bytes: of this process, or of the GPU's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6


def serve(pipe: Connection, settings: Speed, name: str) -> None:
    """One variant in this process: its first step, its peak memory, then steps as asked for."""
    device = usable_device(settings.device)
    if name not in (PLAIN, LEAN):
        keep_memory()  # as train does
    experiment = models.built_in()[settings.experiment]
    clock = clocked(variants(settings, device, experiment)[name](), device)
    clock(1)
    pipe.send(time.time())
    clock(4)
    pipe.send(peak(device))
    while steps := pipe.recv():
        # The threads of the one before still spin for a while, and the caches hold its weights.
        time.sleep(_SETTLE)
        clock(1)
        pipe.send(clock(steps))


class Apart:
    """A variant in a process of its own, which waits while the others have their turns.

    Attributes:
        first: seconds from its start to the end of its first step.
        memory: its peak memory in the first five steps, MB.
    """

    def __init__(self, settings: Speed, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        start = time.time()
        self.process = context.Process(target=serve, args=(theirs, settings, name), daemon=True)
        self.process.start()
        theirs.close()
        self.first = self.pipe.recv() - start
        self.memory = self.pipe.recv()

    def __call__(self, steps: int) -> float:
        """Seconds a step."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def close(self) -> None:
        """End the process."""
        self.pipe.send(0)
        self.process.join()


def machine(device: torch.device) -> str:
    """Its kind, as far as speed depends on it: the GPU, or its instructions and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    maker = " by AMD" if made_by_amd() else ""
    units = "AMX" if torch.cpu._is_amx_tile_supported() else torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}{maker} with {units}, {torch.get_num_threads()} threads"


def section(title: str, results: Mapping[str, Any]) -> list[str]:
    """Lines about one experiment on one kind of machine."""
    seconds, size = results["seconds"], results["batch_size"]

    def ratio(one: str, other: str) -> float:
        """Of the time that one takes to the other's, next to each other in each round."""
        pairs = zip(seconds[one], seconds[other], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    lines = [
        f"## {title}",
        "",
        f"Batch {size}, {results['precision']}, torch {results['torch']}; "
        f"{results['rounds']} rounds.",
        "",
        "| | ms a step | images/s | times as fast as the textbook | peak memory, MB "
        "| to the first step, s |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        value = statistics.median(values)
        factor = f"{ratio(PLAIN, name):.2f}" if PLAIN in seconds else ""
        own = results["alone"].get(name)
        rest = f"{own['memory']:,.0f} | {own['first']:.1f}" if own else " | "
        lines.append(f"| {name} | {value * 1e3:.0f} | {size / value:,.0f} | {factor} | {rest} |")
    lines += [""]
    if LEAN in seconds:
        lines += [
            f"- Beside the textbook of two optimisers it is {ratio(LEAN, FAST):.2f} times as fast, "
            f"in float32 {ratio(LEAN, FULL):.2f} times."
        ]
    lines += [
        f"- Codes cost {ratio(FAST, GAN) - 1:+.1%} over the same GAN without them.",
        f"- Pyro's tracing in the loop costs {ratio(TRACED, FAST) - 1:+.1%}.",
    ]
    if APART in seconds:
        lines += [
            "- Passing the trunk with the images of an update one batch after the other costs "
            f"{ratio(APART, FAST) - 1:+.1%} over passing it at once."
        ]
    if COMPILED in seconds:
        lines += [
            f"- Compiled networks (`torch.compile`) take {ratio(COMPILED, FAST):.2f} times as long "
            "for a step."
        ]
    if FLOOR in seconds:
        lines += [
            f"- A step takes {ratio(FAST, FLOOR):.2f} times as long as its convolutions and "
            "matrix products alone, the gathering of windows counted as part of a convolution."
        ]
    lines += [""]
    for name, curve in results["curves"].items():
        lines += [f"| {name} | {' | '.join(curve)} |", "|---" * (len(curve) + 1) + "|"]
        lines += [f"| images/s | {' | '.join(f'{value:,.0f}' for value in curve.values())} |", ""]
    return lines


def page(every: Mapping[str, Mapping[str, Any]]) -> str:
    """All results that are kept."""
    lines = [
        "# Speed",
        "",
        "Made by `make bench` on an idle machine of each kind: medians of rounds in which all take "
        "turns, ratios within each round. What they say, with the marks, is in "
        "[Results](results.md#speed).",
        "",
    ]
    for title, results in every.items():
        lines += section(title, results)
    return "\n".join(lines)


def main() -> None:
    """Measure, and write what was found."""
    settings = tyro.cli(Speed)
    device = usable_device(settings.device)
    experiment = models.built_in()[settings.experiment]
    apart = {name: Apart(settings, name) for name in variants(settings, device, experiment)}
    seconds = timed(apart, settings.rounds, settings.steps)
    for one in apart.values():
        one.close()
    keep_memory()
    results = {
        "batch_size": experiment.batch_size,
        "precision": str(fast_precision(device)).removeprefix("torch."),
        "rounds": settings.rounds,
        "torch": torch.__version__,
        "seconds": seconds,
        "alone": {
            name: {"first": one.first, "memory": one.memory}
            for name, one in apart.items()
            if name != FLOOR
        },
        "curves": curves(max(3, settings.rounds // 2), settings.steps, device),
    }
    kept = HERE / "results.json"
    title = f"{settings.experiment} on {machine(device)}"
    every = json.loads(kept.read_text()) | {title: results}
    kept.write_text(json.dumps(every, indent=2) + "\n")
    (HERE.parent / "docs" / "speed.md").write_text(page(every))
    print("\n".join(section(title, results)))


if __name__ == "__main__":
    main()
