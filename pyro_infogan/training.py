"""train(): the loop around the step, with its data order, metrics, checkpoints and progress.

Numbers: training stops at a loss or weight that is not finite. Means over a line of metrics tell
that something is; the step that is named is the first of that line whose loss was not. A gradient
that is not finite shows in the weights, at the end of the line, or in a loss of the next step. What
is finite but goes wrong is told by :mod:`~pyro_infogan.watch`.
"""

import copy
import dataclasses
import importlib.metadata
import itertools
import json
import math
import platform
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from .callbacks import Callback, checked_callbacks, notify
from .datasets import ImageSet
from .descriptions import matches
from .devices import fast_precision, keep_memory
from .distributed import Alone, join
from .errors import DataError, DivergenceError, RunError, Stopped, checked_count
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
from .watch import LOOK_EVERY, Watch

__all__ = ["train"]

LOG_EVERY = 10
"""Steps that one line of ``metrics.jsonl`` averages over."""
SAVE_EVERY = 1_000
"""Steps between checkpoints, where it is not said."""

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
    save_every: int = SAVE_EVERY,
    callbacks: Iterable[Callback] = (),
    experiment: str | None = None,
    experiment_file: Path | None = None,
    experiment_data: Path | None = None,
    progress: bool = True,
) -> list[Metrics]:
    """Train both players for ``steps`` updates each, and leave ``gan`` in evaluation mode.

    The order of the images follows from (seed, epoch), every other draw from the seed; the caller's
    random state is left as it was. A batch that would be cut short by the end of an epoch is
    dropped.

    In the main thread SIGINT (Ctrl-C) and SIGTERM let the present step be finished and saved, and
    then raise :class:`~pyro_infogan.errors.Stopped`, a ``KeyboardInterrupt``; a second one stops at
    once. A run that is stopped so, or killed, and resumed ends as if it had not been: on a CPU, bit
    by bit.

    Where ``torchrun`` started several processes, all of them train this one ``gan``, which becomes
    the first process's: each on its share of the images, with draws of its own and gradients
    averaged (docs/scaling.md). The first one keeps the run folder; metrics are means over all.

    Args:
        gan: what to train, in place.
        dataset: a set of :mod:`~pyro_infogan.datasets`, or images (n, C, H, W), uint8 or floats in
            [0, 1]. They are held on the device as they are.
        steps: updates of each player, those before a resume included.
        batch_size: real images, and generated ones, in each update of each process; at least 2,
            for batch norm.
        seed: of the order of the data and of every draw.
        out: run folder for ``run.json``, ``metrics.jsonl`` and checkpoints; None keeps nothing.
        device: where to train; a GPU if there is one, by default, and a GPU for each process.
        labels: of codes that have any, by name, (n, event shape) in the order of the images: whole
            numbers with −1 for an image without one, or floats with NaN. Q of these codes then
            learns from the labelled images alone (semi-supervised InfoGAN, Spurr et al. 2017), as
            ``objective.guidance`` says.
        objective: the terms of the game; :data:`~pyro_infogan.PLAIN_GAN` is Figure 1's
            baseline.
        rates: Adam's settings.
        precision: what the networks compute in; by default bfloat16 where the device is fast at it.
            Weights, scores and losses are float32.
        resume: go on from the run folder's newest good checkpoint, where there is one.
        save_every: steps between checkpoints; there is one after the last step too.
        callbacks: told of each line of metrics: see :class:`~pyro_infogan.callbacks.Callback`. What
            they do changes nothing of the run; an exception of theirs ends it, after saving. Of
            several processes the first one calls its own.
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
        RunError: for a folder that holds another run, is in use by another process, goes missing or
            fills up, a device that is not there, or one of several processes that ends. The last
            good checkpoint stays.
        DivergenceError: where a loss or weight stops being finite; the last good checkpoint stays.
        Stopped: after a signal.

    Warns:
        TrainingWarning: of losses that are finite and go wrong.
    """
    group = join(device)
    device = group.device
    images = checked_images(
        dataset.images if isinstance(dataset, ImageSet) else dataset, gan.image_shape
    )
    observed = checked_labels(gan.prior, labels or {}, len(images))
    _check_counts(steps, batch_size, seed, save_every, len(images), group.size)
    callbacks = checked_callbacks(callbacks)
    keep_memory()
    run = Run(out) if out is not None and group.first else None
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
    if group.size > 1:
        settings["processes"] = group.size
    # What else can be refused is refused before anything is written.
    precision = precision or fast_precision(device)
    gan.to(device).train()
    group.broadcast(gan)
    step = Step(gan, objective, rates, precision, tuple(observed), group.average)
    images = images.to(device)
    labelled = {name: each.known.cpu() for name, each in observed.items()}
    observed = {name: each.to(device) for name, each in observed.items()}
    log = _Log(run, group, [f"label/{name}" for name in observed])
    declared = {"declaration": gan.declaration(), "settings": settings}
    going = {"steps": steps, "save_every": save_every, "resume": resume, "out": out is not None}
    group.check_same({**declared, **going, "precision": precision})
    with (
        group,
        run.locked() if run else nullcontext(),
        # Numbers that are left out count as 0: the first process draws as one by itself.
        seeded(derived(seed, 0, group.rank), device),
        pyro.validation_enabled(False),
        _stopping() as stop,
    ):
        if run:
            _claim(run, gan, settings, resume)
        start = _restore(run, gan, step, log, steps) if out is not None and resume else 0
        if run:
            facts = {"steps": max(steps, start), "precision": str(precision), **_versions(device)}
            facts["data"] = str(experiment_data) if experiment_data else None
            run.write_record({**declared, **facts}, experiment_file)
        every = batch_size * group.size
        order = ((group.share(each), 0) for each in _batches(len(images), every, seed, start))
        if observed:
            any_code = torch.stack(list(labelled.values())).any(0)
            schedule = objective.guidance.schedule
            order = _guided(order, any_code, schedule, batch_size, seed, start, group)
        watch = Watch(gan, images)
        listened = group.from_first(lambda: bool(callbacks))
        bar = tqdm(
            range(start + 1, steps + 1),
            initial=start,
            total=steps,
            disable=not (progress and group.first),
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
            log.add(step(scaled(images[places]), told), every)
            stopped = group.agreed(stop.signal) if done < steps else None
            saving = out is not None and (done % save_every == 0 or done == steps or bool(stopped))
            if saving or done % LOG_EVERY == 0 or done == steps:
                _stop_unless_finite(log, gan, done, run)
            if done % LOG_EVERY == 0 or done == steps:
                line = log.write(done)
                bar.set_postfix_str(_spoken(line))
                watch.see(line)
                if listened and (error := _notified(group, callbacks, done, line, gan)):
                    # What was learned is not a callback's to lose.
                    if out is not None:
                        _save(run, gan, step, log, done)
                    raise error
            if done % LOOK_EVERY == 0:
                watch.look()
            saved = _save(run, gan, step, log, done) if saving else None
            if stopped:
                bar.close()
                raise Stopped(_farewell(done, saved), stopped)
        group.average_buffers(gan)
    gan.eval()
    return log.lines


class _Stop:
    """Whether a signal asked training to stop, and which."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the first, and stop at once at the second."""
        del frame
        if self.signal:
            raise Stopped("Stopped at once, at the second signal, without saving.", number)
        self.signal = number


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Inside, signals to stop are remembered; only the main thread can be told of them."""
    stop = _Stop()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # None stands for a handler that was not set from Python, and cannot be put back. In a
            # process that a shell started in the background Ctrl-C is ignored, and stays so.
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                previous[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _notified(
    group: Alone, callbacks: Sequence[Callback], step: int, line: Metrics, gan: InfoGAN
) -> Exception | None:
    """Tell the first process's callbacks of a line; the error, if one of them raised any."""
    raised = None
    if group.first:
        try:
            notify(callbacks, step, line, gan)
        except Exception as error:
            raised = error
    if not group.from_first(lambda: raised is not None):
        return None
    return raised or RunError(
        f"process {group.rank} of {group.size}",
        got="an error in a callback of process 0",
        expected="none",
        fix="It is told there. The step was saved first: go on with --resume.",
    )


def _farewell(step: int, saved: str | None) -> str:
    if saved is None:
        return f"Stopped after step {step}; there is no run folder to go on from."
    return f"Stopped after step {step}, saved as {saved}; go on with --resume (resume=True)."


class _Log:
    """Sums of what the steps report, and the lines made of them."""

    def __init__(self, run: Run | None, group: Alone, names: Sequence[str]) -> None:
        self.run, self.group = run, group
        # Of what not every process has in every line.
        self.names = names
        self.lines: list[Metrics] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.recent: list[dict[str, Tensor]] = []
        self._start_clock()

    def _start_clock(self) -> None:
        self.images, self.since = 0, time.perf_counter()

    def add(self, losses: dict[str, Tensor], images: int) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss
            # Not every step tells everything: one without labels has no score of theirs.
            self.counts[name] = self.counts.get(name, 0) + 1
        self.recent.append(losses)
        self.images += images

    def broken(self, step: int) -> tuple[int, str] | None:
        """The first step of this line with a loss that is not finite, and which it is.

        Looks at each step only where a mean says that there is one, since looking waits for a GPU.
        """
        if all(map(math.isfinite, self.means().values())):
            return None
        first = step - len(self.recent) + 1
        found = (
            (number, name)
            for number, losses in enumerate(self.recent, start=first)
            for name, loss in self._totals(losses, dict.fromkeys(losses, 1))[0].items()
            if not loss.isfinite()
        )
        return next(found, (step, "a sum of losses"))

    def means(self) -> Metrics:
        sums, counts = self._totals(self.sums, self.counts)
        return {name: (total / counts[name]).item() for name, total in sums.items()}

    def _totals(
        self, sums: Mapping[str, Tensor], counts: Mapping[str, int]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, int]]:
        return self.group.totals(sums, counts, self.names)

    def write(self, step: int) -> Metrics:
        # A clock may be too coarse to have moved.
        speed = self.images / max(time.perf_counter() - self.since, 1e-9)
        line = {"step": step, **self.means(), "images_per_s": round(speed, 1)}
        self.lines.append(line)
        if self.run:
            self.run.append(line)
        if step % LOG_EVERY == 0:
            self.sums, self.counts, self.recent = {}, {}, []
        self._start_clock()
        return line


def _save(run: Run | None, gan: InfoGAN, step: Step, log: _Log, done: int) -> str:
    """Write everything that a resumed run needs to go on as if it had not stopped."""
    random = {"cpu": torch.get_rng_state()}
    if gan.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(gan.device)
    sums = {name: total.cpu() for name, total in log.sums.items()}
    own = {"random": random, "log": {"sums": sums, "counts": log.counts}}
    others = log.group.kept(gan, own)
    with log.group.averaged_buffers(gan):
        optimisers = {name: opt.state_dict() for name, opt in step.optimisers.items()}
        contents = {**gan.contents(), "optimisers": optimisers, **own, **others}
        return log.group.from_first(lambda: str(cast(Run, run).save(done, contents)))


def _newest(run: Run) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint, where there is any."""
    if run.checkpoints():
        return run.newest()
    run.forget_after(0)
    return None


def _restore(run: Run | None, gan: InfoGAN, step: Step, log: _Log, steps: int) -> int:
    """Take up the newest good checkpoint, to go on to ``steps``; the step it was saved after."""
    # The first process alone has a run, and reads for all.
    found = log.group.from_first(lambda: _newest(cast(Run, run)))
    if found is None:
        return 0
    path, contents = found
    gan.adopt(contents, path)
    try:
        done = _adopt_state(contents, path, gan, step, log)
    except RunError:
        raise
    except Exception as error:  # a file of another make leads to a dozen types
        raise RunError(
            f"checkpoint {path}",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="the state of this training",
            fix="It may come from another version; move it away, and go on from the one before.",
        ) from error
    # A run that ended between two lines closed with a short one, which now gets its full length.
    if run:
        run.forget_after(done - done % LOG_EVERY if done < steps else done)
    log.lines = log.group.from_first(lambda: list(cast(Run, run).metrics()))
    return done


def _adopt_state(
    contents: Mapping[str, Any], path: Path, gan: InfoGAN, step: Step, log: _Log
) -> int:
    """Take up all but the weights; the step that the checkpoint was saved after."""
    device = gan.device
    saved = part(contents, "optimisers", path)
    for name, optimiser in step.optimisers.items():
        _check_moments(saved[name], step.players[name])
        # Copies, since what was read is mapped from a file that will be removed.
        optimiser.load_state_dict(copy.deepcopy(saved[name]))
    own = log.group.taken(gan, contents)
    kept = part(own, "log", path)
    log.sums = {name: total.clone().to(device) for name, total in kept["sums"].items()}
    log.counts = dict(kept["counts"])
    random = part(own, "random", path)
    torch.set_rng_state(random["cpu"].clone())
    if device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"].clone(), device)
    return checked_count("step", part(contents, "step", path), least=1, error=RunError)


def _check_moments(saved: Mapping[str, Any], weights: list[torch.nn.Parameter]) -> None:
    """Refuse an optimiser's state of other weights, before any of it is copied."""
    for index, state in saved["state"].items():
        for name, value in state.items():
            if value.shape not in ((), weights[index].shape):
                raise RunError(
                    f"optimiser, {name} of weight {index}",
                    got=f"shape {tuple(value.shape)}",
                    expected=f"{tuple(weights[index].shape)}",
                    fix="The file may come from another version; go on from the one before.",
                )


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
    group: Alone,
) -> Iterator[tuple[Tensor, int]]:
    """Batches after the first ``start``, and how many at the front of each are labelled ones.

    The others come from all images, as without labels. Both what the schedule draws and the order
    of the labelled images follow from the seed, of which each process takes its share.
    """
    labelled = known.nonzero().squeeze(-1)
    per_epoch = max(1, len(known) // (batch_size * group.size))
    draws = torch.Generator().manual_seed(derived(seed, 2))
    shuffles = torch.Generator().manual_seed(derived(seed, 3))
    pool = torch.empty(0, dtype=torch.int64)
    for step in itertools.count():
        draw = torch.rand((), generator=draws, dtype=torch.float64).item()
        count = schedule.labelled(batch_size, step // per_epoch, draw)
        everyones = count * group.size
        while len(pool) < everyones:
            shuffled = torch.randperm(len(labelled), generator=shuffles)
            pool = torch.cat([pool, labelled[shuffled]])
        chosen, pool = group.share(pool[:everyones]), pool[everyones:]
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


def _check_counts(
    steps: int, batch_size: int, seed: int, save_every: int, images: int, processes: int
) -> None:
    checked_count("steps", steps, least=1)
    checked_count("batch_size", batch_size, least=2)
    checked_count("seed", seed, least=0)
    checked_count("save_every", save_every, least=1)
    if images < batch_size * processes:
        beside = f" for each of {processes} processes" if processes > 1 else ""
        raise DataError(
            "images",
            got=images,
            expected=f"at least one batch of {batch_size}{beside}",
            fix="Lower batch_size, or bring more images.",
        )


def _stop_unless_finite(log: _Log, gan: InfoGAN, step: int, run: Run | None) -> None:
    first, name = log.broken(step) or (step, None)
    if name is None:
        weights = gan.named_parameters()
        name = next(
            (f"weight {name}" for name, value in weights if not value.isfinite().all()), None
        )
    if name is None:
        return
    saved = log.group.from_first(lambda: run.checkpoints() if run else [])
    kept = f"The last good checkpoint is {saved[-1][1]}" if saved else "No checkpoint was saved"
    raise DivergenceError(
        f"training, at step {first}",
        got=f"{name} that is not finite",
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
