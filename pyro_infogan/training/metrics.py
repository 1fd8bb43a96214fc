"""Sums of what the steps report, and the lines of ``metrics.jsonl`` made of them."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..distributed import Alone
from ..runs import Run

__all__ = ["LOG_EVERY", "Log", "Metrics", "spoken"]

LOG_EVERY = 10
"""Steps that one line of ``metrics.jsonl`` averages over."""

Metrics = dict[str, float]


class Log:
    """Sums of what the steps report, and the lines made of them."""

    def __init__(self, run: Run | None, group: Alone, names: Sequence[str]) -> None:
        self.run, self.group = run, group
        # Of what not every process has in every line.
        self.names = names
        self.lines: list[Metrics] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.recent: dict[int, dict[str, Tensor]] = {}
        self._start_clock()

    def _start_clock(self) -> None:
        self.images, self.since = 0, time.perf_counter()

    def add(self, step: int, losses: dict[str, Tensor], images: int) -> None:
        """Take in what a step reports, and how many images it has seen."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss
            # Not every step tells everything: one without labels has no score of theirs.
            self.counts[name] = self.counts.get(name, 0) + 1
        self.recent[step] = losses
        self.images += images

    def broken(self) -> tuple[int, str] | None:
        """The first step of this line with a loss that is not finite, and which it is.

        Looks at each step only where a mean says that there is one, since looking waits for a GPU.
        """
        if all(map(math.isfinite, self.means().values())):
            return None
        found = (
            (step, name)
            for step, losses in self.recent.items()
            for name, loss in self._totals(losses, dict.fromkeys(losses, 1))[0].items()
            if not loss.isfinite()
        )
        return next(found, (max(self.recent), "a sum of losses"))

    def means(self) -> Metrics:
        """Of the line so far."""
        sums, counts = self._totals(self.sums, self.counts)
        if not sums:
            return {}
        # One look at a GPU for all of them.
        means = torch.stack([total / counts[name] for name, total in sums.items()]).tolist()
        return dict(zip(sums, means, strict=True))

    def _totals(
        self, sums: Mapping[str, Tensor], counts: Mapping[str, int]
    ) -> tuple[Mapping[str, Tensor], Mapping[str, int]]:
        return self.group.totals(sums, counts, self.names)

    def write(self, step: int) -> Metrics:
        """Close the line at a step, and begin the next one where it is full."""
        # A clock may be too coarse to have moved.
        speed = self.images / max(time.perf_counter() - self.since, 1e-9)
        line = {"step": step, **self.means(), "images_per_s": round(speed, 1)}
        self.lines.append(line)
        if self.run:
            self.run.append(line)
        if step % LOG_EVERY == 0:
            self.sums, self.counts, self.recent = {}, {}, {}
        self._start_clock()
        return line


def spoken(line: Metrics) -> str:
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
