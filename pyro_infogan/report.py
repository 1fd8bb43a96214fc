"""A run as one HTML file: what was declared, how it trained, what was measured, and pictures."""

import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import figures
from .codes import label, names_of
from .evaluation import Calibration, Report
from .infogan import InfoGAN
from .pages import (
    BOUND,
    anchor,
    carried,
    cell,
    confusion,
    declaration,
    document,
    drawing,
    escaped,
    heat,
    number,
    plural,
    traversal,
    uri,
)
from .runs import Run
from .traversal import is_single, traversals, varies

__all__ = ["page"]

_ROWS = 5
"""Of a traversal."""
_MOVING: Mapping[str, Any] = {"rows": 1, "columns": 8, "frames": 24}
"""Of an animation: 60 kB of digits, 180 of faces."""
_PANELS = 4
"""Calibrations side by side."""

# What moves is not for paper, nor for those who asked for less motion.
_STYLE = """@media print, (prefers-reduced-motion: reduce) { .moving { display: none; } }
figure.curves img { max-width: min(42rem, 100%); }
table.settings { font-size: .875rem; }
table.settings th { font-weight: 400; color: var(--soft); }
table.settings th, table.settings td { padding: .15rem .7rem; overflow-wrap: anywhere; }"""

Metrics = list[dict[str, Any]]


def page(run: Run, gan: InfoGAN, measured: Report, seed: int = 0) -> str:
    """The report of a run, as one HTML file that needs no other and no network.

    Args:
        run: the run's folder.
        gan: what was trained there.
        measured: from :func:`~pyro_infogan.evaluate`.
        seed: of the pictures' noise and codes; the caller's random state is left as it was.

    Raises:
        RunError: for a folder whose record or metrics cannot be read.
    """
    record, metrics = run.record() or {}, list(run.metrics())
    codes = [(label(key), anchor(label(key))) for key in measured.information]
    links = [("training", "training"), ("samples", "samples"), *codes]
    links.append(("calibration", "calibration"))
    links += [("labels", "labels")] if measured.clustering else []
    links += [("factors", "factors")] if measured.following else []
    links.append(("settings", "settings"))
    return document(
        f"Report of {run.folder.resolve().name}",
        "How an InfoGAN was declared and trained, and what it learned.",
        facts=_facts(run, record, measured),
        links=links,
        sentences=_sentences(gan, measured),
        sections=[
            declaration(gan, measured.information),
            _training(gan, metrics),
            _samples(gan, seed),
            *(_code(gan, measured, key, seed) for key in measured.information),
            _calibration(measured.calibration),
            _labels(measured),
            _factors(gan, measured, seed),
            _settings(record),
        ],
        footer=BOUND,
        style=_STYLE,
    )


def _facts(run: Run, record: Mapping[str, Any], measured: Report) -> dict[str, object]:
    """The head of the page: what was run, on what, and what was measured."""
    settings = record.get("settings", {})
    saved = run.checkpoints()
    facts: dict[str, object] = {"run": run}
    facts["experiment"] = settings.get("experiment") or "none"
    facts["steps"] = f"{saved[-1][0]:,}" if saved else "none saved"
    if "images" in settings:
        count, *shape, kind, checksum = settings["images"]
        shape = "×".join(map(str, shape))
        facts["trained on"] = f"{count:,} images {shape} of {kind}, checksum (CRC-32) {checksum}"
    if "command" in record:
        facts["command"] = shlex.join(record["command"])
    facts["measured on"] = f"{measured.draws:,} generated images"
    if measured.images:
        facts["measured on"] = f"{facts['measured on']}, {measured.images:,} held-out ones"
    return facts


def _sentences(gan: InfoGAN, measured: Report) -> Iterable[str]:
    yield from carried(gan, measured.information)
    for name, found in measured.clustering.items():
        yield (
            f"<strong>{escaped(name)}</strong> puts {found.accuracy:.1%} of the "
            f"{plural(found.images, 'held-out image')} with a label into the category of that "
            "label, under the best matching of one to one."
        )
    for factor, found in measured.following.items():
        yield (
            f"Of the codes, <strong>{escaped(found.label)}</strong> follows "
            f"<em>{escaped(factor)}</em> best ({found.measure} {found.value:.2f})."
            if found.value
            else f"No code follows <em>{escaped(factor)}</em>."
        )


def _section(place: str, title: str, *parts: str) -> str:
    return f"""
<section aria-labelledby="{escaped(place)}">
<h2 id="{escaped(place)}">{escaped(title)}</h2>
{"".join(parts)}
</section>"""


def _figure(source: str, alt: str, caption: str, kind: str = "made") -> str:
    return f"""<figure class="{kind}"><img src="{source}" alt="{escaped(alt)}">
<figcaption>{caption}</figcaption></figure>"""


def _training(gan: InfoGAN, metrics: Metrics) -> str:
    """The curves, from the lines of metrics."""
    if not metrics:
        return _section("training", "Training", "<p>The run keeps no metrics.</p>")
    last = metrics[-1]
    ends = "; ".join(
        f"L_I of {label(key)} ends at {number(last[f'info/{label(key)}'])} nats, beside an entropy "
        f"of {number(nats)}"
        for key, nats in gan.entropies.items()
    )
    game = (
        f"At the end the discriminator's loss is {number(last['loss_d'])}, the generator's "
        f"{number(last['loss_g'])}; D gives real images {number(last['d_real'])}, generated ones "
        f"{number(last['d_fake'])}."
    )
    return _section(
        "training",
        "Training",
        _figure(
            drawing(figures.bound(metrics, gan.entropies)),
            f"Curves over {last['step']} steps: {ends}.",
            "L_I of each code in training, beside H(c), dotted.",
            "made curves",
        ),
        _figure(
            drawing(figures.game(metrics)),
            game,
            "Losses of both players, and the probability that D gives real and generated images of "
            "being real: where it cannot tell them apart, both are ½.",
            "made curves",
        ),
    )


def _samples(gan: InfoGAN, seed: int) -> str:
    caption = "Generated: noise and codes drawn from their priors."
    source = drawing(figures.samples(gan, rows=6, columns=12, seed=seed))
    return _section("samples", "Samples", _figure(source, "72 generated images.", caption))


def _code(gan: InfoGAN, measured: Report, key: Any, seed: int) -> str:
    """Pictures of what is scored at once: a code, or several with one posterior."""
    title, info = label(key), measured.information[key]
    together = "" if len(names_of(key)) == 1 else " together, as they share a posterior"
    parts = [f"<p>L_I is {info}{together}.</p>"]
    if info.silent:
        parts.append(
            f'<p class="warn"><strong>{escaped(title)} carries nothing.</strong> What changes '
            "below is most likely chance.</p>"
        )
    for name, element, _ in traversals(gan):
        if name in names_of(key):
            parts.append(_traversal(gan, measured, title, (name, element), seed))
    return _section(anchor(title), title, *parts)


def _traversal(
    gan: InfoGAN, measured: Report, title: str, place: tuple[str, int], seed: int
) -> str:
    """A traversal, and of a number the same in motion beside it."""
    name, element = place
    own = name if is_single(gan, name) else f"{name}[{element}]"
    heading = f"<h3>{escaped(own)}</h3>" if own != title else ""
    still = traversal(gan, own, name, element, _ROWS, seed, measured.clustering)
    if gan.prior.is_discrete(name):
        return heading + still
    held: Any = {"element": element, "seed": seed, "clusters": measured.clustering}
    moving = figures.animate(gan, name, **held, **_MOVING)
    beside = _figure(
        uri(moving.encoded(".png"), "png"),
        f"Generated images that move with {own}.",
        "The same there and back, in motion: each image keeps its noise and other codes.",
        "made moving",
    )
    return f'{heading}<div class="pair">{still}{beside}</div>'


def _calibration(found: Mapping[str, Calibration]) -> str:
    """Whether Q is as often right as it says."""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(each)}</td></tr>'
        for name, each in found.items()
    )
    count = math.ceil(len(found) / _PANELS)
    names = [part.tolist() for part in np.array_split(list(found), count)]
    pictures = [
        _figure(
            drawing(figures.calibration({name: found[name] for name in part})),
            f"Ranks or confidences of {', '.join(part)}, and how often Q was right; the table "
            "beneath says it in numbers.",
            escaped(", ".join(part)),
        )
        for part in names
    ]
    said = (
        "<p>Above: where the true codes of generated images stood among draws of Q, or Q’s "
        "confidence. Below: how often Q was right, against how often it said so. A calibrated Q "
        "lies in the grey bands.</p>"
    )
    table = f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'
    return _section("calibration", "Calibration of Q", said, *pictures, table)


def _labels(measured: Report) -> str:
    if not measured.clustering:
        return ""
    tables = (confusion(name, found) for name, found in measured.clustering.items())
    return _section("labels", "Categories and labels", *tables)


def _factors(gan: InfoGAN, measured: Report, seed: int) -> str:
    """Which code follows which factor, and what it looks like."""
    if not measured.following:
        return ""
    titles = list(next(iter(measured.following.values())).every)
    rows = {
        factor: [
            cell(value, f"{value:.2f}", value == found.value, found.measure)
            for value in found.every.values()
        ]
        for factor, found in measured.following.items()
    }
    table = heat(
        "How much each code (columns) agrees with each known factor of the held-out images: "
        "Spearman’s, the circular or the circular-linear rank correlation, or where there are "
        "kinds the mutual information as a share of the factor’s entropy (homogeneity). Framed is "
        "the code that tells most of the factor, which may not have the greatest number: these "
        "measures are not on one scale.",
        titles,
        rows,
    )
    pictures = [
        _figure(
            drawing(figures.variation(gan, factor, found, seed=seed)),
            f"Generated images; {found.label} varies from left to right, which follows {factor}.",
            f"{escaped(factor)}: {escaped(found)}, over the prior’s range.",
        )
        for factor, found in measured.following.items()
        if varies(gan, found.code)
    ]
    shown = f'<div class="pair">{"".join(pictures)}</div>'
    return _section("factors", "Codes and known factors", table, shown)


def _settings(record: Mapping[str, Any]) -> str:
    """Everything that ``run.json`` says, a row a value."""
    if not record:
        return _section("settings", "Settings", "<p>The run keeps no record.</p>")
    rows = "".join(
        f'<tr><th scope="row">{escaped(key)}</th><td>{escaped(value)}</td></tr>'
        for key, value in _flat({**record, "command": shlex.join(record.get("command", []))})
    )
    table = (
        '<table class="settings"><caption>What run.json says</caption>'
        f"<tbody>{rows}</tbody></table>"
    )
    return _section("settings", "Settings and versions", f'<div class="scroll">{table}</div>')


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (path, text), lists of plain values in one."""
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, Mapping | list) for part in value):
        for index, part in enumerate(value):
            yield from _flat(part, f"{path}[{index}]")
    else:
        yield path, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        same = len(value) > 1 and len(set(map(str, value))) == 1
        return f"{len(value)} × {_plain(value[0])}" if same else ", ".join(map(_plain, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value == {} else str(value)
