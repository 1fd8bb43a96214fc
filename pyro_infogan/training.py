"""train(): the loop around the step, with its data order, metrics, checkpoints and progress."""

import dataclasses
import importlib.metadata
import itertools
import json
import math
import platform
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from .datasets import ImageSet
from .descriptions import matches
from .devices import fast_precision, usable_device
from .errors import DataError, DivergenceError, RunError, checked_count
from .images import checked_images, scaled
from .inference import (
    INFOGAN,
    PAPER_RATES,
    Labels,
    Objective,
    Rates,
    Schedule,
    Step,
    checked_labels,
)
from .infogan import InfoGAN
from .randomness import derived, seeded
from .runs import Run, part

__all__ = ["train"]

LOG_EVERY = 10
"""Steps that one line of ``metrics.jsonl`` averages over."""
SAVE_EVERY = 1_000
"""Steps between checkpoints."""

_SUMMED = 10_000

Metrics = dict[str, float]


def train(
    gan: InfoGAN,
    dataset: ImageSet | Tensor,
    steps: int = 5_000,
    batch_size: int = 128,
    seed: int = 0,
    out: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    labels: Mapping[str, Tensor] | None = None,
    objective: Objective = INFOGAN,
    rates: Rates = PAPER_RATES,
    precision: torch.dtype | None = None,
    resume: bool = False,
    experiment: str | None = None,
    experiment_file: Path | None = None,
    experiment_data: Path | None = None,
    progress: bool = True,
) -> list[Metrics]:
    """Train both players for ``steps`` updates each, and leave ``gan`` in evaluation mode.

    The order of the images follows from (seed, epoch), every other draw from the seed; the caller's
    random state is left as it was. A batch that would be cut short by the end of an epoch is
    dropped.

    Args:
        gan: what to train, in place.
        dataset: a set of :mod:`~pyro_infogan.datasets`, or images (n, C, H, W), uint8 or floats in
            [0, 1]. They are held on the device as they are.
        steps: updates of each player, those before a resume included.
        batch_size: real images, and generated ones, in each update; at least 2, for batch norm.
        seed: of the order of the data and of every draw.
        out: run folder for ``run.json``, ``metrics.jsonl`` and checkpoints; None keeps nothing.
        device: where to train; a GPU if there is one, by default.
        labels: of codes that have any, by name, (n, event shape) in the order of the images: whole
            numbers with −1 for an image without one, or floats with NaN. Q of these codes then
            learns from the labelled images alone (semi-supervised InfoGAN, Spurr et al. 2017), as
            ``objective.guidance`` says.
        objective: the terms of the game; :data:`~pyro_infogan.inference.PLAIN_GAN` is Figure 1's
            baseline.
        rates: Adam's settings.
        precision: what the networks compute in; by default bfloat16 where the device is fast at it.
            Weights, scores and losses are float32.
        resume: go on from the run folder's newest good checkpoint, where there is one.
        experiment: name of the experiment that declared this, for ``run.json``.
        experiment_file: the user's file that declared it, of which the run keeps a copy.
        experiment_data: where its images were read from, for ``run.json``.
        progress: whether to show a bar with losses, L_I of each code in nats, and images/s.

    Returns:
        What ``metrics.jsonl`` holds: for every 10 steps the means of ``loss_d``, ``loss_g``,
        ``d_real``, ``d_fake`` and ``info/<code>``, ``label/<code>`` of a code with labels,
        ``entropy/<code>`` of a prior that learns, and ``step`` and ``images_per_s``.

    Raises:
        DataError: for images, labels or a batch size that do not fit, before anything is written.
        RunError: for a folder that holds another run, or a device that is not there.
        DivergenceError: where a loss or weight stops being finite; the last good checkpoint stays.
    """
    images = checked_images(
        dataset.images if isinstance(dataset, ImageSet) else dataset, gan.image_shape
    )
    observed = checked_labels(gan.prior, labels or {}, len(images))
    _check_counts(steps=steps, batch_size=batch_size, seed=seed, images=len(images))
    device = usable_device(device)
    run = Run(out) if out is not None else None
    settings = {
        "experiment": experiment,
        "images": [*images.shape, str(images.dtype), _checksum(images)],
        "batch_size": batch_size,
        "seed": seed,
        "objective": _plain(objective),
        "rates": _plain(rates),
    }
    if observed:
        settings["labels"] = {name: _told(each) for name, each in observed.items()}
    if run:
        _claim(run, gan, settings, resume)

    precision = precision or fast_precision(device)
    gan.to(device).train()
    images = images.to(device)
    labelled = {name: each.known.cpu() for name, each in observed.items()}
    observed = {name: each.to(device) for name, each in observed.items()}
    step = Step(gan, objective, rates, precision, tuple(observed))
    log = _Log(run)
    with seeded(derived(seed, 0), device), pyro.validation_enabled(False):
        start = _restore(run, gan, step, log, steps) if run and resume else 0
        if run:
            facts = {"steps": max(steps, start), "precision": str(precision), **_versions(device)}
            facts["data"] = str(experiment_data) if experiment_data else None
            declared = {"declaration": gan.declaration(), "settings": settings}
            run.write_record({**declared, **facts}, experiment_file)
        order = ((each, 0) for each in _batches(len(images), batch_size, seed, start))
        if observed:
            any_code = torch.stack(list(labelled.values())).any(0)
            schedule = objective.guidance.schedule
            order = _guided(order, any_code, schedule, batch_size, seed, start)
        bar = tqdm(
            range(start + 1, steps + 1),
            initial=start,
            total=steps,
            disable=not progress,
            dynamic_ncols=True,
            unit="step",
        )
        for done in bar:
            chosen, count = next(order)
            places = chosen.to(device)
            told = {
                name: each.at(places).first(count)
                for name, each in observed.items()
                if labelled[name][chosen[:count]].any()
            }
            log.add(step(scaled(images[places]), told), batch_size)
            saving = run is not None and (done % SAVE_EVERY == 0 or done == steps)
            if saving or done % LOG_EVERY == 0 or done == steps:
                _stop_unless_finite(log.means(), gan, done, run)
            if done % LOG_EVERY == 0 or done == steps:
                bar.set_postfix_str(_spoken(log.write(done)))
            if run and saving:
                run.save(done, _state(gan, step, log))
    gan.eval()
    return log.lines


class _Log:
    """Sums of what the steps report, and the lines made of them."""

    def __init__(self, run: Run | None) -> None:
        self.run = run
        self.lines: list[Metrics] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._start_clock()

    def _start_clock(self) -> None:
        self.images, self.since = 0, time.perf_counter()

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss
            # Not every step tells everything: one without labels has no score of theirs.
            self.counts[name] = self.counts.get(name, 0) + 1
        self.images += images

    def means(self) -> Metrics:
        return {name: (total / self.counts[name]).item() for name, total in self.sums.items()}

    def write(self, step: int) -> Metrics:
        speed = self.images / (time.perf_counter() - self.since)
        line = {"step": step, **self.means(), "images_per_s": round(speed, 1)}
        self.lines.append(line)
        if self.run:
            self.run.append(line)
        if step % LOG_EVERY == 0:
            self.sums, self.counts = {}, {}
        self._start_clock()
        return line


def _state(gan: InfoGAN, step: Step, log: _Log) -> dict[str, Any]:
    """Everything that a resumed run needs to go on as if it had not stopped."""
    random = {"cpu": torch.get_rng_state()}
    if gan.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(gan.device)
    return {
        **gan.contents(),
        "optimisers": {name: opt.state_dict() for name, opt in step.optimisers.items()},
        "random": random,
        "log": {"sums": log.sums, "counts": log.counts},
    }


def _restore(run: Run, gan: InfoGAN, step: Step, log: _Log, steps: int) -> int:
    """Take up the newest good checkpoint, to go on to ``steps``; the step it was saved after."""
    if not run.checkpoints():
        run.forget_after(0)
        return 0
    device = gan.device
    path, contents = run.newest()
    gan.adopt(contents, path)
    for name, optimiser in step.optimisers.items():
        optimiser.load_state_dict(part(contents, "optimisers", path)[name])
    random = part(contents, "random", path)
    torch.set_rng_state(random["cpu"])
    if device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"], device)
    done = part(contents, "step", path)
    kept = part(contents, "log", path)
    log.sums = {name: total.to(device) for name, total in kept["sums"].items()}
    log.counts = dict(kept["counts"])
    # A run that ended between two lines closed with a short one, which now gets its full length.
    run.forget_after(done - done % LOG_EVERY if done < steps else done)
    log.lines = list(run.metrics())
    return done


def _checksum(images: Tensor) -> str:
    """CRC-32 of at most 10,000 images, evenly spaced, to tell one set from another.

    All of a set that is mapped from a file would be brought into memory.
    """
    crc = 0
    for image in images[:: -(-len(images) // _SUMMED)]:
        crc = zlib.crc32(image.contiguous().cpu().numpy().data, crc)
    return f"{crc:08x}"


def _batches(images: int, batch_size: int, seed: int, start: int) -> Iterator[Tensor]:
    """Indices of each batch after the first ``start``, in an order given by (seed, epoch)."""
    first, skipped = divmod(start, images // batch_size)
    for epoch in itertools.count(first):
        generator = torch.Generator().manual_seed(derived(seed, 1, epoch))
        order = torch.randperm(images, generator=generator)
        batches = order[: len(order) // batch_size * batch_size].split(batch_size)
        yield from batches[skipped if epoch == first else 0 :]


def _guided(
    order: Iterator[tuple[Tensor, int]],
    known: Tensor,
    schedule: Schedule,
    batch_size: int,
    seed: int,
    start: int,
) -> Iterator[tuple[Tensor, int]]:
    """Batches after the first ``start``, and how many at the front of each are labelled ones.

    The others come from all images, as without labels. Both what the schedule draws and the order
    of the labelled images follow from the seed.
    """
    labelled = known.nonzero().squeeze(-1)
    per_epoch = max(1, len(known) // batch_size)
    draws = torch.Generator().manual_seed(derived(seed, 2))
    shuffles = torch.Generator().manual_seed(derived(seed, 3))
    pool = torch.empty(0, dtype=torch.int64)
    for step in itertools.count():
        draw = torch.rand((), generator=draws, dtype=torch.float64).item()
        count = schedule.labelled(batch_size, step // per_epoch, draw)
        while len(pool) < count:
            shuffled = torch.randperm(len(labelled), generator=shuffles)
            pool = torch.cat([pool, labelled[shuffled]])
        chosen, pool = pool[:count], pool[count:]
        if step >= start:
            yield torch.cat([chosen, next(order)[0][: batch_size - count]]), count


def _told(labels: Labels) -> list[Any]:
    """How many labels there are, and their checksum with their places."""
    known = labels.known.nonzero().squeeze(-1)
    parts = (known, labels.values[known].double())
    crc = 0
    for each in parts:
        crc = zlib.crc32(each.contiguous().numpy().data, crc)
    return [len(known), f"{crc:08x}"]


def _claim(run: Run, gan: InfoGAN, settings: Mapping[str, Any], resume: bool) -> None:
    """Refuse a folder whose run is not the one about to start."""
    record = run.record()
    if record is None:
        if run.checkpoints() or run.metrics_file.exists():
            raise RunError(
                f"run folder {run}",
                got="checkpoints or metrics without a run.json",
                expected="a new folder, or a whole run",
                fix="Choose another folder with --out.",
            )
        return
    same = {"declaration": gan.declaration(), "settings": dict(settings)}
    different = [key for key in same if not matches(record.get(key), _jsonable(same[key]))]
    if different:
        raise RunError(
            f"run folder {run}",
            got=f"a run with {different[0]} {record.get(different[0])}",
            expected=f"none, or one with {different[0]} {same[different[0]]}",
            fix="Choose another folder with --out.",
        )
    if not resume:
        raise RunError(
            f"run folder {run}",
            got="a run that is already there",
            expected="a new folder, or leave to go on",
            fix="Add --resume (resume=True), or choose another folder with --out.",
        )


def _check_counts(*, steps: int, batch_size: int, seed: int, images: int) -> None:
    for name, value, least in (("steps", steps, 1), ("batch_size", batch_size, 2)):
        checked_count(name, value, least=least)
    checked_count("seed", seed, least=0)
    if images < batch_size:
        raise DataError(
            "images",
            got=images,
            expected=f"at least one batch of {batch_size}",
            fix="Lower batch_size, or bring more images.",
        )


def _stop_unless_finite(means: Metrics, gan: InfoGAN, step: int, run: Run | None) -> None:
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    broken += [
        f"weight {name}" for name, value in gan.named_parameters() if not value.isfinite().all()
    ]
    if not broken:
        return
    saved = run.checkpoints() if run else []
    kept = f"The last good checkpoint is {saved[-1][1]}" if saved else "No checkpoint was saved"
    raise DivergenceError(
        f"training, by step {step}",
        got=f"{broken[0]} that is not finite",
        expected="finite losses and weights",
        fix=f"{kept}. Lower the learning rates or the information weights.",
    )


def _plain(value: Any) -> Any:
    """A setting as data: dataclasses by field, functions by name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if callable(value):
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _versions(device: torch.device) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("pyro-infogan", "torch", "pyro-ppl", "numpy")
        },
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else str(device),
    }


def _spoken(line: Metrics) -> str:
    """A line for the bar: D and G losses, L_I of each code in nats, and speed."""
    info = " ".join(
        f"{name.removeprefix('info/')} {value:.2f}"
        for name, value in line.items()
        if name.startswith("info/")
    )
    return (
        f"D {line['loss_d']:.2f} G {line['loss_g']:.2f} | L_I {info} nats | "
        f"{line['images_per_s']:.0f} images/s"
    )
