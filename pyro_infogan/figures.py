"""The paper's figures, of any declaration, and those beside them.

Each function gives a matplotlib Figure, but :func:`animate`, which gives an Animation.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn

from .animation import animate
from .codes import Key, label
from .errors import DataError, check_names
from .evaluation import Calibration, Clustering, Following, Responses
from .images import sheet
from .infogan import InfoGAN
from .randomness import seeded
from .runs import replace
from .traversal import is_matched, is_single, traversals, traversed, values_of

__all__ = [
    "animate",
    "bound",
    "calibration",
    "confusion",
    "filters",
    "first_convolution",
    "game",
    "guided",
    "samples",
    "sheet",
    "traversals",
    "traverse",
    "variation",
    "write",
]

_DPI = 160
_BAND = {"color": "0.85", "lw": 0}
_CYCLE = 10
# Ticks of more characters stand aslant.
_LONG = 5
_ABREAST = 6
"""Codes beside each other in :func:`calibration`, so that its text stays legible on a page."""


def _new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def _show(axes: Any, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def bound(
    metrics: Iterable[Mapping[str, float]],
    entropies: Mapping[str, float] | Mapping[Key, float],
    baseline: Iterable[Mapping[str, float]] = (),
    beside: str = "plain GAN",
) -> Figure:
    """Figure 1: L_I of each code over the steps, beside H(c), which moves where a prior learns.

    Args:
        metrics: lines of ``metrics.jsonl``, or what ``train`` returned.
        entropies: H(c) of each code in nats, ``gan.entropies``.
        baseline: the same of a plain GAN with Q fitted beside it, or of another run, drawn dashed.
        beside: what the legend calls it.

    Raises:
        DataError: for no metrics, or those of other codes.
    """
    runs = [_lines(metrics), list(baseline)]
    named = {label(key): entropy for key, entropy in entropies.items()}
    for lines in filter(None, runs):
        missing = [name for name in named if f"info/{name}" not in lines[0]]
        if missing:
            raise DataError(
                "metrics",
                got=f"a run without the codes {missing}",
                expected=f"one with {list(named)}",
                fix="Choose a run of the same experiment.",
            )
    figure = _new(5.2, 3.4)
    axes = figure.subplots()
    # The cycle's ten, or as many as there are codes.
    some = [f"C{place}" for place in range(len(named))]
    colours = some if len(some) <= _CYCLE else colormaps["turbo"](np.linspace(0, 1, len(some)))
    for colour, (name, entropy) in zip(colours, named.items(), strict=True):
        text = f"$L_I$({name})"
        for lines, style, suffix in zip(runs, ("-", "--"), ("", f", {beside}"), strict=True):
            if lines:
                steps = [line["step"] for line in lines]
                values = [line[f"info/{name}"] for line in lines]
                style += _mark(lines)
                axes.plot(steps, values, style, color=colour, lw=1.2, label=text + suffix)
        told = [f"entropy/{part}" for part in name.split(",")]
        dotted = {"color": colour, "ls": ":", "lw": 1, "label": f"$H$({name})"}
        if all(part in runs[0][0] for part in told):
            steps = [line["step"] for line in runs[0]]
            axes.plot(steps, [sum(line[part] for part in told) for line in runs[0]], **dotted)
        else:
            axes.axhline(entropy, **dotted)
    axes.set_xlabel("step")
    axes.set_ylabel("nats")
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    return figure


def game(metrics: Iterable[Mapping[str, float]]) -> Figure:
    """Losses of both players, and what D makes of real and generated images, over the steps.

    Where D cannot tell them apart its probabilities meet at ½.

    Args:
        metrics: lines of ``metrics.jsonl``, or what ``train`` returned.

    Raises:
        DataError: for no metrics.
    """
    lines = _lines(metrics)
    steps = [line["step"] for line in lines]
    figure = _new(7.6, 2.8)
    panels = {
        "loss": {"loss_d": "discriminator", "loss_g": "generator"},
        "probability of being real": {"d_real": "$D$(real)", "d_fake": "$D$(fake)"},
    }
    for axes, (said, curves) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for name, text in curves.items():
            axes.plot(steps, [line[name] for line in lines], f"-{_mark(lines)}", lw=1.2, label=text)
        axes.set_xlabel("step")
        axes.set_ylabel(said)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    figure.axes[1].set_ylim(0, 1)
    return figure


def _mark(lines: Sequence[Mapping[str, float]]) -> str:
    """A single line of metrics is a point, which a curve through it would not show."""
    return "o" if len(lines) == 1 else ""


def _lines(metrics: Iterable[Mapping[str, float]]) -> list[Mapping[str, float]]:
    lines = list(metrics)
    if not lines:
        raise DataError("metrics", got="no lines", expected="a run's metrics", fix="Train first.")
    return lines


def write(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    replace(path, lambda file: figure.savefig(file, format="png", bbox_inches="tight"))


def samples(gan: InfoGAN, rows: int = 10, columns: int = 10, seed: int = 0) -> Figure:
    """Images with noise and codes from their priors."""
    with seeded(seed):
        images = gan.generate(rows * columns)
    figure = _new(0.45 * columns, 0.45 * rows)
    axes = figure.subplots()
    _show(axes, sheet(images, columns))
    axes.set_xticks([])
    return figure


def traverse(
    gan: InfoGAN,
    name: str,
    *,
    element: int = 0,
    span: tuple[float, float] | None = None,
    rows: int = 10,
    columns: int = 9,
    seed: int = 0,
    clusters: Mapping[str, Clustering] | None = None,
) -> Figure:
    """Figure 2: one code varies from left to right, each row keeps its noise and other codes.

    Rows step through the categories of the other codes, so that each is seen.

    Args:
        gan: a trained InfoGAN.
        name: the code.
        element: which number of a vector code.
        span: first and last value of a continuous code; by default those of
            :meth:`~pyro_infogan.codes.CodePrior.shown`, twice the prior's range of most. A share
            goes from 0 to 1, and the other shares give way in proportion.
        rows: how many rows of fixed noise.
        columns: how many values of a continuous code; a discrete one shows all of its own.
        seed: of noise and other codes.
        clusters: categories matched to labels, from ``evaluate``, to order categories by; counts
            and booleans keep their own order.

    Raises:
        DeclarationError: for a code that is not declared.
        DataError: for a vector of one-hot codes, or an element that is not
            there.
    """
    values, ticks = values_of(
        gan, name, element=element, span=span, count=columns, clusters=clusters
    )
    columns = len(values)
    images = traversed(gan, name, values, element=element, rows=rows, seed=seed, clusters=clusters)
    figure = _new(0.45 * columns, 0.45 * rows + 0.45)
    axes = figure.subplots()
    _show(axes, sheet(images, columns))
    step = gan.image_shape[2] + 2
    places = [step * (column + 0.5) for column in range(columns)]
    long = max(map(len, ticks)) > _LONG
    axes.set_xticks(places, ticks, fontsize=7, rotation=45 if long else 0)
    title = name if is_single(gan, name) else f"{name}[{element}]"
    axes.set_xlabel(f"label matched to {title}" if is_matched(gan, name, clusters) else title)
    return figure


def variation(gan: InfoGAN, factor: str, found: Following, rows: int = 5, seed: int = 0) -> Figure:
    """Figures 3 to 6: the code that best follows a factor, over its prior's range.

    Args:
        gan: a trained InfoGAN.
        factor: the factor's name.
        found: which code follows it, from ``evaluate`` or ``follow``.
        rows: how many rows of fixed noise and other codes.
        seed: of those.

    Raises:
        DeclarationError, DataError: as :func:`traverse`.
    """
    check_names("figures.variation", [found.code], gan.prior.sites)
    span = None
    if not gan.prior.is_discrete(found.code):
        low, high = (end.reshape(-1)[found.element].item() for end in gan.prior.usual(found.code))
        span = (low, high)
    figure = traverse(gan, found.code, element=found.element, span=span, rows=rows, seed=seed)
    figure.axes[0].set_title(f"{factor}: {found.measure} {found.value:.2f}", fontsize="medium")
    return figure


def confusion(clustering: Clustering, name: str) -> Figure:
    """How many images of each label fall in each category, in the order of the matching."""
    table = np.array(clustering.confusion)[clustering.order]
    share = table / np.maximum(table.sum(0, keepdims=True), 1)
    categories, labels = table.shape
    figure = _new(0.42 * labels + 1.2, 0.42 * categories + 1.0)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(categories):
        for column in range(labels):
            dark = share[row, column] > 0.5
            axes.text(
                column,
                row,
                table[row, column],
                ha="center",
                va="center",
                fontsize=6,
                color="white" if dark else "black",
            )
    axes.set_xticks(range(labels))
    axes.set_yticks(range(categories), [str(category) for category in clustering.order])
    axes.set_xlabel("label")
    axes.set_ylabel(f"category of {name}")
    axes.set_title(f"accuracy {clustering.accuracy:.4f}", fontsize="medium")
    axes.tick_params(length=0)
    return figure


def calibration(calibrations: Mapping[str, Calibration]) -> Figure:
    """Whether Q is as often right as it says, one column a code, at most six beside each other.

    Above, how often the true code had each rank among draws of Q, in at most 20 bins; or how often
    the most probable category had each probability. Below, how often Q's central intervals held the
    true code, or the most probable category was it, against the level that Q gives. A calibrated Q
    has 95 % of its bins and points within the grey bands; below the diagonal Q is over-confident. A
    Q that lies to one side of the truth slopes above, and may not show below.

    Args:
        calibrations: of each code, from ``calibrate``, or of a report.

    Raises:
        DataError: for none.
    """
    if not calibrations:
        raise DataError("calibrations", got="none", expected="one a code", fix="Use calibrate.")
    # As many in each band as in the others, where the number allows.
    bands = math.ceil(len(calibrations) / _ABREAST)
    columns = math.ceil(len(calibrations) / bands)
    figure = _new(1.9 * columns + 0.4, 4.0 * bands)
    grid = figure.subplots(2 * bands, columns, squeeze=False)
    above, below = grid[::2].ravel(), grid[1::2].ravel()
    for top, bottom, (name, found) in zip(above, below, calibrations.items(), strict=False):
        top.set_title(name, fontsize="medium")
        _histogram(top, found)
        _reliability(bottom, found)
    for unused in (*above[len(calibrations) :], *below[len(calibrations) :]):
        unused.remove()
    for top, bottom in grid[:, 0].reshape(-1, 2):
        top.set_ylabel("images")
        bottom.set_ylabel("share of true codes")
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def first_convolution(gan: InfoGAN) -> nn.Conv2d | None:
    """The trunk's first convolution, if it has any."""
    return next((part for part in gan.trunk.modules() if isinstance(part, nn.Conv2d)), None)


def filters(gan: InfoGAN) -> Figure:
    """Filters of the trunk's first convolution, as Radford et al. 2016 show theirs.

    Each has its own scale, on which grey is zero. Of other than one or three input channels the
    first is shown.

    Raises:
        DataError: for a trunk without convolutions.
    """
    first = first_convolution(gan)
    if first is None:
        raise DataError(
            "trunk", got="no convolution", expected="one or more", fix="Build it with nn.Conv2d."
        )
    weights = first.weight.detach().float().cpu()
    columns = math.ceil(math.sqrt(len(weights)))
    figure = _new(0.45 * columns, 0.45 * math.ceil(len(weights) / columns))
    axes = figure.subplots()
    _show(axes, sheet(_centred(weights), columns))
    axes.set_xticks([])
    return figure


def guided(found: Responses) -> Figure:
    """What units of the last convolution answer to: a row a unit, each image and its gradient.

    Each gradient has its own scale, on which grey is zero.

    Args:
        found: from ``evaluation.responses``.
    """
    units, each = found.images.shape[:2]
    pairs = torch.stack([found.images.flatten(0, 1), _centred(found.gradients.flatten(0, 1))], 1)
    figure = _new(0.9 * each, 0.45 * units)
    axes = figure.subplots()
    _show(axes, sheet(pairs.flatten(0, 1), 2 * each))
    axes.set_xticks([])
    return figure


def _centred(values: Tensor) -> Tensor:
    """Pictures (n, C, H, W) in [0, 1] of numbers, 0.5 for zero and each by its own greatest."""
    greatest = values.abs().amax((1, 2, 3), keepdim=True)
    return 0.5 + 0.5 * values / torch.where(greatest > 0, greatest, 1.0)


def _within(counts: Any, chances: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where 95 % of binomial counts lie."""
    low, high = scipy.stats.binom.interval(0.95, counts, chances)
    return low, high


def _histogram(axes: Any, found: Calibration) -> None:
    """Counts of ranks or confidences, as shares of the axis from 0 to 1."""
    counts, shares = found.histogram()
    edges = np.append(0.0, shares.cumsum())
    if found.statistic == "rank":
        low, high = _within(counts.sum(), shares)
        axes.stairs(high, edges, baseline=low, fill=True, **_BAND)
    axes.stairs(counts, edges, color="C0", lw=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rank / draws of Q" if found.statistic == "rank" else "confidence")


def _reliability(axes: Any, found: Calibration) -> None:
    """Observed against nominal levels."""
    nominal, observed = np.array(found.nominal), np.array(found.observed)
    images = sum(found.counts)
    trials = images if found.statistic == "rank" else np.array(list(filter(None, found.counts)))
    low, high = (end / trials for end in _within(trials, nominal))
    if found.statistic == "rank":
        axes.fill_between(nominal, low, high, **_BAND)
    else:
        # Bins are apart: each has a band of its own.
        axes.bar(nominal, high - low, 0.03, low, **_BAND)
    axes.plot([0, 1], [0, 1], color="0.5", ls=":", lw=1)
    axes.plot(nominal, observed, "-" if found.statistic == "rank" else "o", ms=2.5, lw=1.2)
    lines = [f"gap {found.gap:.3f}", found.p_text]
    if found.leak:
        lines.append(f"leak {found.leak:.3f}")
    axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("level of Q's interval" if found.statistic == "rank" else "confidence")
