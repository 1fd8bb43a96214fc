"""Callbacks of training: whoever listens to the metrics, such as TensorBoard.

``train(..., callbacks=[...])`` calls each one's only method, ``on_log``, after every line of
metrics, which is then already in ``metrics.jsonl``: those lines remain the source of truth. What a
callback does cannot change the run. It sees the InfoGAN in evaluation mode and without gradients,
draws from a random state of its own, and gets a copy of the line.
"""

import importlib
import math
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from .codes import label, names_of
from .errors import DataError, RunError, checked_count
from .images import sheet
from .infogan import InfoGAN
from .modes import evaluating
from .randomness import checked_seed, derived, seeded
from .traversal import traversals, traversed, values_of

__all__ = ["Callback", "TensorBoard", "checked_callbacks", "notify"]


class Callback(Protocol):
    """What ``train`` calls after each line of metrics."""

    def on_log(self, step: int, metrics: Mapping[str, float], gan: InfoGAN) -> None:
        """Take in a line of metrics.

        An exception ends the training: the step is saved first, ``train`` raises the exception as
        it is, and the run can be resumed, whose first line is then the next one.

        Args:
            step: the last step that the line is about; lines follow each other by 10 steps, but the
                last of a run may come sooner. A run that is resumed goes on from its checkpoint,
                and may repeat steps that were told before.
            metrics: the line as in ``metrics.jsonl``, a copy. Not every line has every number.
            gan: what is trained, on its device, in evaluation mode and without gradients. Look at
                it, generate and infer with it; do not change its weights, and do not keep it.
        """
        ...


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """``callbacks``, if they are some objects with the method ``on_log``.

    Raises:
        DataError: otherwise.
    """
    several = isinstance(callbacks, Iterable)
    found = tuple(callbacks) if several else ()
    if not several or not all(map(_is_callback, found)):
        raise DataError(
            "callbacks",
            got=repr(callbacks),
            expected="objects with a method on_log(step, metrics, gan), in a list",
            fix="Write callbacks=[TensorBoard(folder)].",
        )
    return found


def _is_callback(each: object) -> bool:
    return callable(getattr(each, "on_log", None)) and not isinstance(each, type)


def notify(
    callbacks: Sequence[Callback], step: int, metrics: Mapping[str, float], gan: InfoGAN
) -> None:
    """Tell callbacks of a line, and leave random state and training mode as they were."""
    if not callbacks:
        return
    with torch.no_grad(), evaluating(gan), seeded(derived(step)):
        for callback in callbacks:
            callback.on_log(step, dict(metrics), gan)


class TensorBoard:
    """Writes what TensorBoard shows: the metrics, and pictures that change as training goes on.

    Every number of a line is a scalar under its own name, and beside each ``info/<code>`` stands
    ``entropy/<code>``, H(c). The tab *custom scalars* has L_I and H(c) of a code in one chart, and
    likewise both losses, and D of real and generated images. Pictures, at intervals: ``samples``,
    whose noise and codes stay the same, and ``traverse/<code>``. A resumed run replaces what was
    written of later steps.

    Args:
        folder: where to write; ``<run>/tensorboard`` is where the command line does.
        images_every: steps between pictures.
        seed: of their noise and codes.

    Raises:
        DataError: where TensorBoard is not installed, or for counts that cannot be. Needs the extra
            ``tensorboard``.
        RunError: while training, where the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, images_every: int = 250, seed: int = 0) -> None:
        self.folder = Path(folder)
        self.images_every = checked_count("images_every", images_every, least=1)
        self.seed = checked_seed(seed)
        self._new_writer = _summary_writer()
        self._writer: Any = None
        self._close: Any = None
        self._fixed: Any = None
        self._entropies: dict[str, float] = {}
        self._seen = 0

    def on_log(self, step: int, metrics: Mapping[str, float], gan: InfoGAN) -> None:
        """Write a line, and pictures where it is time."""
        try:
            if self._writer is None or step <= self._seen:
                self._writer = self._begin(step, gan)
            for name, value in {**self._entropies, **metrics, **_joint(gan, metrics)}.items():
                if name != "step":
                    self._writer.add_scalar(name, value, step)
            # Lines need not stand at the multiples themselves.
            if step // self.images_every > self._seen // self.images_every:
                self._draw(step, gan)
            self._seen = step
            # Now, since a run that is killed has no later.
            self._writer.flush()
        except OSError as error:
            raise RunError(
                f"writing {self.folder}",
                got=error,
                expected="a folder with room that can be written to",
                fix="Free space, then go on with --resume.",
            ) from error

    def _begin(self, step: int, gan: InfoGAN) -> Any:
        """A writer to a new file, which replaces what earlier ones say from this step on."""
        if self._close:
            self._close()
        writer = self._new_writer(str(self.folder), purge_step=step)
        # A writer has a thread, which would outlive this object.
        self._close = weakref.finalize(self, writer.close)
        writer.add_custom_scalars(_charts(gan))
        self._entropies = {f"entropy/{label(key)}": nats for key, nats in gan.entropies.items()}
        self._seen = step - 1
        with seeded(self.seed):
            self._fixed = gan.draw(64)
        return writer

    def _draw(self, step: int, gan: InfoGAN) -> None:
        noise, codes = self._fixed
        self._picture("samples", gan.generate(len(noise), codes, noise), 8, step)
        for name, element, text in traversals(gan):
            values, _ = values_of(gan, name, element=element)
            images = traversed(gan, name, values, element=element, rows=5, seed=self.seed)
            self._picture(f"traverse/{text}", images, len(values), step)

    def _picture(self, name: str, images: torch.Tensor, columns: int, step: int) -> None:
        picture = sheet(images, columns)
        axes = "HWC" if picture.ndim == 3 else "HW"
        self._writer.add_image(name, picture, step, dataformats=axes)


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError:
        raise DataError(
            "TensorBoard",
            got="no tensorboard here",
            expected="the optional library",
            fix="Install it: pip install 'pyro-infogan[tensorboard]'.",
        ) from None


def _joint(gan: InfoGAN, metrics: Mapping[str, float]) -> dict[str, float]:
    """H(c) of codes with one posterior, where a prior that learns tells each by itself."""
    parts = {
        label(key): [metrics.get(f"entropy/{name}", math.nan) for name in names_of(key)]
        for key in gan.posterior.scored
    }
    sums = {f"entropy/{name}": sum(values) for name, values in parts.items()}
    return {name: nats for name, nats in sums.items() if not math.isnan(nats)}


def _charts(gan: InfoGAN) -> dict[str, dict[str, list[Any]]]:
    """What stands in one chart; TensorBoard takes the names as regular expressions."""

    def lines(*names: str) -> list[Any]:
        return ["Multiline", [f"^{re.escape(name)}$" for name in names]]

    keys = map(label, gan.posterior.scored)
    return {
        "L_I beside H(c), nats": {key: lines(f"info/{key}", f"entropy/{key}") for key in keys},
        "game": {
            "losses": lines("loss_d", "loss_g"),
            "D(real), D(fake)": lines("d_real", "d_fake"),
        },
    }
