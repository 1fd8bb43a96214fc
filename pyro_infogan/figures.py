"""The paper's figures, of any declaration. Each function gives a matplotlib Figure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyro.distributions as dist
import scipy.stats
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from .codes import Key, element_of, label, shown, unit
from .errors import DataError, check_names
from .evaluation import Calibration, Clustering, Following, Responses
from .infogan import InfoGAN
from .randomness import seeded
from .runs import replace

__all__ = [
    "bound",
    "calibration",
    "confusion",
    "filters",
    "first_convolution",
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


def _new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def sheet(images: Tensor, columns: int) -> np.ndarray:
    """Images (n, C, H, W) as one array (rows, columns[, 3]), a thin white line around each.

    One channel is shown grey, three in colour; of any other number the first is shown. Places that
    the last row leaves over are white.
    """
    missing = -len(images) % columns
    images = torch.cat([images, images.new_ones(missing, *images.shape[1:])])
    padded = torch.nn.functional.pad(images.cpu(), (1, 1, 1, 1), value=1.0)
    n, channels, height, width = padded.shape
    grid = padded.unflatten(0, (n // columns, columns)).permute(0, 3, 1, 4, 2)
    whole = grid.reshape(n // columns * height, columns * width, channels).numpy()
    return whole if channels == 3 else whole[..., 0]


def _show(axes: Any, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def bound(
    metrics: Iterable[Mapping[str, float]],
    entropies: Mapping[str, float] | Mapping[Key, float],
    baseline: Iterable[Mapping[str, float]] = (),
) -> Figure:
    """Figure 1: L_I of each code over the steps, beside H(c), which moves where a prior learns.

    Args:
        metrics: lines of ``metrics.jsonl``, or what ``train`` returned.
        entropies: H(c) of each code in nats, ``gan.entropies``.
        baseline: the same of a plain GAN with Q fitted beside it, drawn dashed.

    Raises:
        DataError: for no metrics, or those of other codes.
    """
    runs = [list(metrics), list(baseline)]
    named = {label(key): entropy for key, entropy in entropies.items()}
    if not runs[0]:
        raise DataError("metrics", got="no lines", expected="a run's metrics", fix="Train first.")
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
    for colour, (name, entropy) in enumerate(named.items()):
        text = f"$L_I$({name})"
        for lines, style, suffix in zip(runs, ("-", "--"), ("", ", plain GAN"), strict=True):
            if lines:
                steps = [line["step"] for line in lines]
                values = [line[f"info/{name}"] for line in lines]
                axes.plot(steps, values, style, color=f"C{colour}", lw=1.2, label=text + suffix)
        told = [f"entropy/{part}" for part in name.split(",")]
        dotted = {"color": f"C{colour}", "ls": ":", "lw": 1, "label": f"$H$({name})"}
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


def write(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    replace(path, lambda file: figure.savefig(file, format="png", bbox_inches="tight"))


def samples(gan: InfoGAN, rows: int = 10, columns: int = 10, seed: int = 0) -> Figure:
    """Images with noise and codes from their priors."""
    with seeded(seed, gan.device):
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
        span: first and last value of a continuous code; by default twice the prior's range, as the
            paper shows −2 to 2 of a code trained on −1 to 1.
        rows: how many rows of fixed noise.
        columns: how many values of a continuous code; a discrete one shows all of its own.
        seed: of noise and other codes.
        clusters: categories matched to labels, from ``evaluate``, to order categories by.

    Raises:
        DeclarationError: for a code that is not declared.
        DataError: for a vector of one-hot codes or counts without end, or an element that is not
            there.
    """
    check_names("figures.traverse", [name], gan.prior.sites)
    clusters = clusters or {}
    values, ticks = _values(gan, name, element, span, columns, clusters)
    columns = len(values)
    with seeded(seed, gan.device):
        noise, codes = gan.draw(rows)
        for other in gan.prior.sites:
            if other != name and _enumerable(gan, other):
                support, _ = _values(gan, other, 0, None, 0, clusters)
                codes[other] = support[torch.arange(rows, device=gan.device) % len(support)]
        codes = {other: value.repeat_interleave(columns, 0) for other, value in codes.items()}
        swept = values.repeat(rows, *[1] * (values.dim() - 1))
        if _single(gan, name):
            codes[name] = swept
        else:
            codes[name].flatten(1)[:, element] = swept
        images = gan.generate(rows * columns, codes, noise.repeat_interleave(columns, 0))

    figure = _new(0.45 * columns, 0.45 * rows + 0.45)
    axes = figure.subplots()
    _show(axes, sheet(images, columns))
    step = gan.image_shape[2] + 2
    axes.set_xticks([step * (column + 0.5) for column in range(columns)], ticks, fontsize=7)
    axes.set_xlabel(name if _single(gan, name) else f"{name}[{element}]")
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
    prior = gan.prior.sites[found.code]
    span = None
    if not gan.prior.is_discrete(found.code):
        ends = (part.expand(prior.event_shape).reshape(-1) for part in unit(prior))
        centre, scale = (end[found.element].item() for end in ends)
        span = (centre - scale, centre + scale)
    figure = traverse(gan, found.code, element=found.element, span=span, rows=rows, seed=seed)
    figure.axes[0].set_title(f"{factor}: {found.measure} {found.value:.2f}", fontsize="medium")
    return figure


def traversals(gan: InfoGAN) -> list[tuple[str, int, str]]:
    """Every (code, element) that can be traversed, with a label for file names."""
    listed = []
    for name, prior in gan.prior.sites.items():
        if _single(gan, name):
            listed.append((name, 0, name))
        elif not (gan.prior.is_discrete(name) and element_of(prior).event_shape):
            count = prior.event_shape.numel()
            listed += [(name, element, f"{name}-{element}") for element in range(count)]
    return listed


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
    """Whether Q is as often right as it says, one column a code.

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
    columns = len(calibrations)
    figure = _new(1.9 * columns + 0.4, 4.0)
    above, below = figure.subplots(2, columns, squeeze=False)
    for top, bottom, (name, found) in zip(above, below, calibrations.items(), strict=True):
        top.set_title(name, fontsize="medium")
        _histogram(top, found)
        _reliability(bottom, found)
    above[0].set_ylabel("images")
    below[0].set_ylabel("share of true codes")
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
    lines = [f"gap {found.gap:.3f}", f"p = {found.p_value:.2g}"]
    if found.leak:
        lines.append(f"leak {found.leak:.3f}")
    axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("level of Q's interval" if found.statistic == "rank" else "confidence")


def _enumerable(gan: InfoGAN, name: str) -> bool:
    """Whether a code takes one of a few categories, and is no vector of such."""
    prior = gan.prior.sites[name]
    vector = isinstance(prior, dist.Independent) and prior.event_shape
    return gan.prior.is_discrete(name) and prior.has_enumerate_support and not vector


def _values(
    gan: InfoGAN,
    name: str,
    element: int,
    span: tuple[float, float] | None,
    columns: int,
    clusters: Mapping[str, Clustering],
) -> tuple[Tensor, Sequence[str]]:
    """The values a code steps through, and how to label them."""
    prior = gan.prior.sites[name]
    if _enumerable(gan, name):
        support = prior.enumerate_support()
        if name not in clusters:
            return support, [str(index) for index in range(len(support))]
        order = clusters[name].order
        matched = [clusters[name].matching[category] for category in order]
        labels = ["–" if label is None else str(label) for label in matched]
        return support[torch.tensor(order, device=support.device)], labels
    count = prior.event_shape.numel()
    if not 0 <= element < count:
        raise DataError(
            f"element of code {name!r}",
            got=element,
            expected=f"0 to {count - 1}",
            fix="Choose one it has.",
        )
    base: Any = element_of(prior)
    if gan.prior.is_discrete(name):
        if not base.has_enumerate_support or base.event_shape:
            raise DataError(
                f"code {name!r}",
                got=f"a vector of {type(base).__name__}",
                expected="a code whose elements are single categories or numbers",
                fix="Generate it with values of your own: gan.generate(n, codes={...}).",
            )
        support = base.enumerate_support().flatten(1)[:, element]
        return support, [f"{value:g}" for value in support.tolist()]
    ends = (end.reshape(-1)[element].item() for end in shown(prior))
    low, high = span or ends
    values = torch.linspace(low, high, columns, device=gan.device)
    return values, [f"{value:.3g}" for value in values.tolist()]


def _single(gan: InfoGAN, name: str) -> bool:
    """Whether a code is swept as a whole, not element by element."""
    return _enumerable(gan, name) or not gan.prior.sites[name].event_shape
