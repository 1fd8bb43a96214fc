"""train(): the loop around the step, with its data order, metrics, checkpoints and progress.

Numbers: training stops at a loss or weight that is not finite. Means over a line of metrics tell
that something is; the step that is named is the first of that line whose loss was not. A gradient
that is not finite shows in the weights, at the end of the line, or in a loss of the next step. What
is finite but goes wrong is told by :mod:`~pyro_infogan.watch`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from ..callbacks import Callback, checked_callbacks, notify
from ..datasets import ImageSet
from ..datasets.images import tensor_of
from ..devices import fast_precision, held, keep_memory
from ..distributed import Alone, join
from ..errors import (
    DataError,
    DeclarationError,
    DivergenceError,
    RunError,
    Stopped,
    checked_count,
)
from ..images import scaled
from ..inference import INFOGAN, PAPER_RATES, Objective, Rates, Step, checked_labels
from ..inference.distortion import check_distortion
from ..infogan import InfoGAN
from ..randomness import checked_seed, derived, seeded
from ..runs import Run
from ..watch import LOOK_EVERY, Watch
from .metrics import LOG_EVERY, Log, Metrics, spoken
from .order import batches, guided
from .record import claim, settings_of, versions
from .state import restore, save
from .statistics import renew_statistics
from .stopping import farewell, stopping

__all__ = ["train"]

SAVE_EVERY = 1_000
"""Steps between checkpoints, where it is not said."""


# Whatever context the caller is in.
@torch.inference_mode(False)
@torch.enable_grad()
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
    """Train both players for ``steps`` updates each.

    The order of the images follows from (seed, epoch), every other draw from the seed; the caller's
    random state is left as it was. A batch that would be cut short by the end of an epoch is
    dropped. However it ends, it leaves ``gan`` in evaluation mode, and on Linux the process with
    the large blocks of memory that it has freed, for the next training.

    After the last step batch norm's running statistics are replaced by means over 20 steps' images,
    by the weights as they then are (Wu & Johnson 2021, section 3): running ones trail the weights,
    and L_I with them. It takes 40 passes forward of the generator and 60 of the trunk. A run that
    is resumed with no step left keeps what it has.

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
            [0, 1]. They are held on the device as they are, but for those that would take more than
            half of a GPU's free memory.
        steps: updates of each player, those before a resume included.
        batch_size: real images, and generated ones, in each update of each process; at least 2,
            for batch norm.
        seed: of the order of the data and of every draw.
        out: run folder for ``run.json``, ``metrics.jsonl`` and checkpoints; None keeps nothing.
        device: where to train; a GPU if there is one, by default, and a GPU for each process.
        labels: of codes that have any, by name, (n, event shape) in the order of the images: whole
            numbers of a discrete code, −1 for an image without one; floats of any other, NaN for an
            image without one. Q of these codes then learns from the labelled images alone
            (semi-supervised InfoGAN, Spurr et al. 2017), as ``objective.guidance`` says.
        objective: the terms of the game; :data:`~pyro_infogan.PLAIN_GAN` is Figure 1's
            baseline.
        rates: Adam's settings.
        precision: what the networks compute in; by default bfloat16 where the device is faster by
            it (a GPU that has it, a CPU with AMX, one of AMD's with AVX-512 for it), else float32.
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
        ``d_real``, ``d_fake`` and ``info/<code>``, ``label/<code>`` of a code with labels, where a
        step had any, ``entropy/<code>`` of a prior that learns, and ``step`` and ``images_per_s``.

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
    images = tensor_of(dataset, gan.image_shape)
    _check_weights(gan)
    observed = checked_labels(gan.prior, {} if labels is None else labels, len(images))
    steps = checked_count("steps", steps, least=1)
    batch_size = checked_count("batch_size", batch_size, least=2)
    seed = checked_seed(seed)
    save_every = checked_count("save_every", save_every, least=1)
    _check_enough(images, batch_size, group.size)
    callbacks = checked_callbacks(callbacks)
    keep_memory()
    run = Run(out) if out is not None and group.first else None
    settings = settings_of(
        images, observed, batch_size, seed, objective, rates, experiment, group.size
    )
    # What else can be refused is refused before anything is written.
    precision = precision or fast_precision(device)
    gan.to(device)
    group.broadcast(gan)
    step = Step(gan, objective, rates, precision, tuple(observed), group.average)
    if objective.invariance:
        check_distortion(objective.invariance.distort, gan.image_shape)
    images = held(images, device)
    labelled = {name: each.known.cpu() for name, each in observed.items()}
    observed = {name: each.to(device) for name, each in observed.items()}
    log = Log(run, group, [f"label/{name}" for name in observed])
    declared = {"declaration": gan.declaration(), "settings": settings}
    going = {"steps": steps, "save_every": save_every, "resume": resume, "out": out is not None}
    group.check_same({**declared, **going, "precision": precision})
    with (
        group,
        run.locked() if run else nullcontext(),
        # Numbers that are left out count as 0: the first process draws as one by itself.
        seeded(derived(seed, 0, group.rank)),
        pyro.validation_enabled(False),
        _training_mode(gan),
        stopping() as stop,
    ):
        if run:
            claim(run, gan, settings, resume)
        start = restore(run, gan, step, log, steps) if out is not None and resume else 0
        if run:
            facts = {"steps": max(steps, start), "precision": str(precision), **versions(device)}
            facts["data"] = str(experiment_data) if experiment_data else None
            facts["experiment_file"] = str(experiment_file.absolute()) if experiment_file else None
            run.write_record({**declared, **facts}, experiment_file)
        every = batch_size * group.size
        order = ((group.share(each), 0) for each in batches(len(images), every, seed, start))
        if observed:
            any_code = torch.stack(list(labelled.values())).any(0)
            schedule = objective.guidance.schedule
            order = guided(order, any_code, schedule, batch_size, seed, start, group)
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
            # Once a step, and without waiting for a GPU.
            places = chosen.to(device, non_blocking=True)
            told = {
                name: each.at(places).first(count)
                for name, each in observed.items()
                if labelled[name][chosen[:count]].any()
            }
            try:
                batch = images[places if images.device == device else chosen]
                real = scaled(batch.to(device, non_blocking=True))
                log.add(done, step(real, told), every)
            except (RuntimeError, ValueError):
                # Of weights that are not finite some densities cannot be drawn from.
                if _broken_weight(gan):
                    _stop_unless_finite(log, gan, done, run)
                raise
            stopped = group.agreed(stop.signal) if done < steps else None
            saving = out is not None and (done % save_every == 0 or done == steps or bool(stopped))
            if saving or done % LOG_EVERY == 0 or done == steps:
                _stop_unless_finite(log, gan, done, run)
            if done % LOG_EVERY == 0 or done == steps:
                line = log.write(done)
                bar.set_postfix_str(spoken(line))
                watch.see(line)
                if done == steps:
                    # After the line, whose images/s are those of training.
                    reads = bool(observed) or bool(step.players["prior"] and objective.prior.wake)
                    own = derived(seed, 4, group.rank)
                    try:
                        renew_statistics(gan, images, batch_size, own, reads)
                    except BaseException:
                        # What was learned is not lost with them. Of several processes the others
                        # may be about to do something else.
                        if out is not None and group.size == 1:
                            save(run, gan, step, log, done)
                        raise
                if listened and (error := _notified(group, callbacks, done, line, gan)):
                    # What was learned is not a callback's to lose.
                    if out is not None:
                        save(run, gan, step, log, done)
                    raise error
            if done % LOOK_EVERY == 0:
                with group.averaged_buffers(gan):
                    watch.look()
            saved = save(run, gan, step, log, done) if saving else None
            if stopped:
                bar.close()
                raise Stopped(farewell(done, saved), stopped)
        group.average_buffers(gan)
    return log.lines


@contextmanager
def _training_mode(gan: InfoGAN) -> Iterator[None]:
    """Training mode inside, evaluation mode afterwards, however it ends."""
    gan.train()
    try:
        yield
    finally:
        gan.eval()


def _notified(
    group: Alone, callbacks: Sequence[Callback], step: int, line: Metrics, gan: InfoGAN
) -> Exception | None:
    """Tell the first process's callbacks of a line; the error, if one of them raised any."""
    raised = None
    # What they see is what a checkpoint of this step holds.
    with group.averaged_buffers(gan):
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
        fix="It is told there. The step was saved first: go on with --resume (resume=True).",
    )


def _check_weights(gan: InfoGAN) -> None:
    """Refuse weights that no gradient can be taken of, or whose steps would be lost in rounding."""
    if any(weight.is_inference() for weight in gan.parameters()):
        got, fix = "weights made in torch.inference_mode()", "Build the InfoGAN outside of it."
    elif gan.dtype not in (torch.float32, torch.float64):
        got, fix = (
            f"weights of {gan.dtype}",
            "Call gan.float(); precision= says what to compute in.",
        )
    else:
        return
    raise DeclarationError("networks", got=got, expected="float32 weights that learn", fix=fix)


def _check_enough(images: Tensor, batch_size: int, processes: int) -> None:
    if len(images) < batch_size * processes:
        beside = f" for each of {processes} processes" if processes > 1 else ""
        raise DataError(
            "images",
            got=len(images),
            expected=f"at least one batch of {batch_size}{beside}",
            fix="Make batches smaller, or bring more images.",
        )


@torch.no_grad()
def _broken_weight(gan: InfoGAN) -> str | None:
    weights = {name: value for name, value in gan.named_parameters() if value.numel()}
    # The ends are no numbers where any number between is none; one look at a GPU for all of them.
    ends = torch.stack([end for value in weights.values() for end in value.aminmax()])
    if ends.isfinite().all():
        return None
    return next(f"weight {name}" for name, value in weights.items() if not value.isfinite().all())


def _stop_unless_finite(log: Log, gan: InfoGAN, step: int, run: Run | None) -> None:
    first, name = log.broken() or (step, _broken_weight(gan))
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
