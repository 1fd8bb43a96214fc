"""The page: what each code found, in words and pictures."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from ..codes import label, names_of
from ..errors import DataError
from ..evaluation import Categories, Clustering, Inferred, Numbers
from ..images import scaled
from ..inference.bound import LEAST
from ..infogan import InfoGAN
from ..pages import (
    BOUND,
    anchor,
    carried,
    cell,
    chart,
    confusion,
    declaration,
    document,
    escaped,
    heat,
    joined,
    nats,
    number,
    plural,
    traversal,
    uri,
)
from ..traversal import varies
from .findings import ALIKE, Agreement, Discovery

__all__ = ["page"]

_SHOWN = 16
"""Images at each end of a number."""
_SURE = 10
"""Images of a category."""
_ROWS = 5
"""Of a traversal."""
_BINS = 30
# Fewer images agree on much by chance.
_FEW = 100
# Thumbnails are no smaller and no larger on the screen, in pixels.
_LEAST_SIDE, _MOST_SIDE = 44, 96


def page(
    gan: InfoGAN,
    found: Discovery,
    title: str,
    about: Mapping[str, object] | None = None,
    broken: Sequence[DataError] = (),
    seed: int = 0,
) -> str:
    """What was found, as one HTML file that needs no other and no network.

    Args:
        gan: the trained InfoGAN.
        found: from :func:`~pyro_infogan.discovery.discover`.
        title: of the page.
        about: more lines for its head, such as the run's steps.
        broken: the errors of files that were left out.
        seed: of the traversals' noise and other codes.
    """
    sections = [
        declaration(gan, found.information),
        *(_code(gan, found, key, seed) for key in found.information),
        _duplicates(found),
        _known(found),
        _left_out(broken),
    ]
    links = [(label(key), anchor(label(key))) for key in found.information]
    links.append(("duplicates", "duplicates"))
    links += [("what is known", "known")] if found.known else []
    facts = {**(about or {}), "images": f"{len(found.images):,}"}
    facts["generated images"] = f"{found.draws:,}, for L_I"
    if broken:
        facts["left out"] = f"{plural(len(broken), 'file')} that cannot be read"
    return document(
        title,
        "What each code of an InfoGAN found in a set of images.",
        facts=facts,
        links=links,
        sentences=_sentences(gan, found),
        sections=sections,
        footer=f"{BOUND} What is said of real images is what Q, the network that reads codes from "
        "images, makes of them.",
        style=f"ul.strip {{ --side: {min(max(gan.image_shape[2], _LEAST_SIDE), _MOST_SIDE)}px; }}",
    )


# Text


def _said(got: Agreement) -> str:
    measure, value = got
    return f"{'|Spearman|' if measure == 'Spearman' else measure} {value:.2f}"


def _sentences(gan: InfoGAN, found: Discovery) -> Iterable[str]:
    """The page in a few lines of HTML."""
    yield from carried(gan, found.information)
    for name, info in found.numbers.items():
        if info.silent:
            yield f"<strong>{escaped(name)}</strong> carries nothing: L_I is {nats(info)} nats."
    for name, one in found.inferred.items():
        if isinstance(one, Categories):
            yield _used(name, one)
    yield _alike(found)
    for name in found.known:
        yield _followed(found, name)


def _used(name: str, one: Categories) -> str:
    kinds, used = len(one.prior), int((one.counts > 0).sum())
    return (
        f"<strong>{escaped(name)}</strong> puts the images into {used} of its {kinds} categories; "
        f"how evenly, says the entropy of use: {one.use:.3f} of log {kinds} = "
        f"{math.log(kinds):.3f} nats."
    )


def _alike(found: Discovery) -> str:
    pairs = [
        f"<strong>{escaped(one)}</strong> and <strong>{escaped(other)}</strong> ({_said(got)}"
        + "".join(
            f"; {escaped(each)} carries nothing" for each in (one, other) if found.is_silent(each)
        )
        + ")"
        for (one, other), got in found.duplicates.items()
    ]
    if pairs:
        return f"Duplicates: {joined(pairs)} say much the same of these images."
    if len(found.inferred) < 2:
        return "There is one code, and none to duplicate it."
    return "No code duplicates another on these images."


def _followed(found: Discovery, name: str) -> str:
    best = found.best[name]
    if not found.known[name][best][1]:
        return f"No code follows <em>{escaped(name)}</em>."
    return (
        f"Of the codes, <strong>{escaped(best)}</strong> follows <em>{escaped(name)}</em> best "
        f"({_said(found.known[name][best])}).{_chance(found.images_of[name])}"
    )


def _chance(images: int) -> str:
    if images >= _FEW:
        return ""
    return f" <strong>{plural(images, 'image')}: so few agree on much by chance.</strong>"


# Pictures


def _thumbnail(image: Tensor) -> str:
    """An image (C, H, W): three channels in colour, of any others the first, in grey."""
    levels = (scaled(image) * 255).round().byte().cpu().numpy()
    whole = levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(whole)).save(file, format="PNG", optimize=True)
    return uri(file.getvalue())


def _strip(found: Discovery, chosen: Tensor, said: Sequence[str]) -> str:
    """Images side by side, with what is said of each beneath."""
    names = found.names
    items = []
    for index, text in zip(chosen.tolist(), said, strict=True):
        name = escaped(names[index] if found.images.names else f"image {index}")
        source = _thumbnail(found.images.images[index])
        items.append(f'<li><img src="{source}" alt="{name}" title="{name}">{escaped(text)}</li>')
    return f'<ul class="strip">{"".join(items)}</ul>'


# Sections


def _code(gan: InfoGAN, found: Discovery, key: Any, seed: int) -> str:
    """Everything about what is scored at once: a code, or several with one posterior."""
    name, info = label(key), found.information[key]
    parts = {title: one for title, one in found.inferred.items() if one.code in names_of(key)}
    together = "" if len(names_of(key)) == 1 else " together, as they share a posterior"
    shown = []
    for title, one in parts.items():
        own = found.numbers.get(title)
        heading = f"<h3>{escaped(title)}</h3>" if title != name else ""
        line = f"<p>L_I of this number is {nats(own)} nats.</p>" if own else ""
        quiet = (
            f'<p class="warn">{escaped(title)} carries nothing.</p>'
            if (own and title in found.silent)
            else ""
        )
        shown.append(heading + line + quiet + _reading(gan, found, title, one, seed))
    warning = ""
    if name in found.silent:
        warning = (
            f'<p class="warn"><strong>{escaped(name)} carries nothing</strong>: its L_I is under '
            f"{LEAST} nats, or within three standard errors of 0. What is shown below is "
            "most likely chance.</p>"
        )
    return f"""
<section aria-labelledby="{escaped(anchor(name))}">
<h2 id="{escaped(anchor(name))}">{escaped(name)}</h2>
<p>L_I is {nats(info)} nats, beside H(c) = {info.entropy:.3f}{together}.</p>
{warning}{"".join(shown)}
</section>"""


def _reading(gan: InfoGAN, found: Discovery, title: str, one: Inferred, seed: int) -> str:
    if isinstance(one, Categories):
        return _traversal(gan, title, one, seed, _use(title, one)) + _kinds(found, title, one)
    return _traversal(gan, title, one, seed, _spread(gan, title, one)) + _ends(found, title, one)


def _traversal(gan: InfoGAN, title: str, one: Inferred, seed: int, chart: str) -> str:
    """Generated images and a chart, side by side where there is room."""
    if not varies(gan, one.code):
        return f'<div class="pair">{chart}</div>'
    drawn = traversal(gan, title, one.code, one.element, _ROWS, seed)
    return f'<div class="pair">{drawn}{chart}</div>'


def _spread(gan: InfoGAN, title: str, one: Numbers) -> str:
    """A histogram of Q's means against the prior, of an angle with the prior in the middle."""
    means, draws = one.mean, one.prior
    if one.period:
        centre, _ = gan.prior.unit(one.code)
        least = centre.cpu().expand(gan.prior.sites[one.code].event_shape).reshape(-1)[one.element]
        least = least - one.period / 2
        means, draws = (least + (each - least) % one.period for each in (means, draws))
    both = (means.numpy(), draws.numpy())
    low = min(float(np.quantile(values, 0.001)) for values in both)
    high = max(float(np.quantile(values, 0.999)) for values in both)
    high = high if high > low else low + 1.0
    bars, marks = (
        np.histogram(values.clip(low, high), _BINS, (low, high))[0] / len(values) for values in both
    )
    middle = means.median().item()
    said = (
        f"Histogram of {title} in these images, from {number(low)} to {number(high)}, "
        f"with half of them under {number(middle)}."
    )
    round_ones = [value for value in MaxNLocator(5).tick_values(low, high) if low <= value <= high]
    ticks = {_BINS * (value - low) / (high - low): number(value) for value in round_ones}
    return f"""<figure>{chart(bars.tolist(), marks.tolist(), ticks, said)}
<figcaption>Bars: share of the images by Q’s mean of {escaped(title)}. Dashed: the prior. Q’s
standard deviation is {number(one.stddev.median().item())} in the median; where it is large, the
means keep to the prior’s middle.</figcaption></figure>"""


def _use(title: str, one: Categories) -> str:
    """How many images each category got, against the prior."""
    kinds, counts = len(one.prior), one.counts.tolist()
    every = math.ceil(kinds / 25)
    said = f"Images by category of {title}: " + ", ".join(
        f"{kind}: {count}" for kind, count in enumerate(counts)
    )
    ticks = {kind + 0.5: str(kind) for kind in range(0, kinds, every)}
    shares = [count / sum(counts) for count in counts]
    return f"""<figure>{chart(shares, one.prior.tolist(), ticks, said)}
<figcaption>Bars: share of the images whose most probable category it is. Dashed: the prior. The
entropy of use is {one.use:.3f} nats; even use would have log {kinds} = {math.log(kinds):.3f}.
</figcaption></figure>"""


def _ends(found: Discovery, title: str, one: Numbers) -> str:
    """The images with the least and the most of a number; of an angle, some once around."""
    order = one.mean.argsort()
    if one.period:
        chosen = order[torch.linspace(0, len(order) - 1, min(2 * _SHOWN, len(order))).long()]
        rows = {f"Real images, once around {title}": chosen}
    else:
        count = min(_SHOWN, max(1, len(order) // 2))
        rows = {
            f"Real images with the least {title}, from the least on": order[:count],
            f"Real images with the most {title}, from the most on": order.flip(0)[:count],
        }
    return "".join(
        f"<h4>{escaped(heading)}</h4>{_strip(found, chosen, [number(v) for v in values])}"
        for heading, chosen in rows.items()
        for values in [one.mean[chosen].tolist()]
    )


def _kinds(found: Discovery, title: str, one: Categories) -> str:
    """Of each category, the images that Q is most certain of."""
    clustering = found.clustering.get(title)
    counts, total = one.counts.tolist(), len(one.chosen)
    rows = []
    for kind, count in enumerate(counts):
        own = (one.chosen == kind).nonzero().squeeze(-1)
        certain = own[one.probabilities[own, kind].argsort(descending=True, stable=True)[:_SURE]]
        said = [f"{value:.3f}" for value in one.probabilities[certain, kind].tolist()]
        strip = _strip(found, certain, said) if count else '<p class="soft">No image is of it.</p>'
        rows.append(
            f'<div class="kind"><p><strong>{escaped(title)} = {kind}</strong><br>'
            f'<span class="soft">{plural(count, "image")}, {count / total:.1%}'
            f"{_matched(clustering, kind)}</span></p>{strip}</div>"
        )
    heading = "Real images that Q is most certain of, and the probability it gives"
    return f"<h4>{heading}</h4>{''.join(rows)}"


def _matched(clustering: Clustering | None, kind: int) -> str:
    """Which label a category was matched to, and how many of its images have that."""
    matched = clustering.matching[kind] if clustering else None
    if clustering is None or matched is None:
        return ""
    row = clustering.confusion[kind]
    return f"<br>matched to label {matched}: {row[matched] / max(sum(row), 1):.0%} of them"


def _duplicates(found: Discovery) -> str:
    titles = list(found.inferred)
    table = ""
    if len(titles) > 1:
        rows = {}
        for one in titles:
            cells = []
            for other in titles:
                if one == other:
                    cells.append('<td class="self">–</td>')
                    continue
                pair = (one, other) if (one, other) in found.shared else (other, one)
                got, alike = found.shared[pair], pair in found.duplicates
                cells.append(cell(got[1], f"{got[1]:.2f}", alike, _said(got)))
            rows[one] = cells
        limits = joined([f"{_said(limit)}" for limit in ALIKE.items()])
        table = heat(
            "Between numbers, the absolute value of Spearman’s correlation, or the circular one of "
            "angles; where categories take part, the mutual information adjusted for chance, as a "
            "share of the smaller entropy (AMI). "
            f"Duplicates are framed: from {limits} on.",
            titles,
            rows,
        )
    return f"""
<section aria-labelledby="duplicates">
<h2 id="duplicates">Which codes duplicate each other</h2>
<p>{_alike(found)}{_chance(len(found.images))}</p>
{table}
</section>"""


def _known(found: Discovery) -> str:
    if not found.known:
        return ""
    titles = list(found.inferred)
    rows = {}
    for name, each in found.known.items():
        rows[name] = [
            cell(value, f"{value:.2f}", title == found.best[name], _said((measure, value)))
            for title, (measure, value) in ((title, each[title]) for title in titles)
        ]
    sentences = "".join(f"<li>{_followed(found, name)}</li>" for name in found.known)
    table = heat(
        "How much each code agrees with what is known of the images: the absolute value of "
        "Spearman’s correlation; the circular or circular-linear one where what is known turns "
        "full circle; where there are categories, the mutual information as a share of the entropy "
        "of what is known (homogeneity). The best of each row is framed: a correlation and a share "
        "of an entropy are no numbers to compare, so that it may not have the greatest.",
        titles,
        rows,
    )
    return f"""
<section aria-labelledby="known">
<h2 id="known">Codes and what is known of the images</h2>
<ul>{sentences}</ul>
{table}
{"".join(confusion(title, one) for title, one in found.clustering.items())}
</section>"""


def _left_out(broken: Sequence[DataError]) -> str:
    if not broken:
        return ""
    items = "".join(f"<li>{escaped(error)}</li>" for error in broken)
    return f"""
<section aria-labelledby="left-out">
<h2 id="left-out">Files left out</h2>
<p class="warn">{plural(len(broken), "file")} cannot be read.</p>
<ul>{items}</ul>
</section>"""
