"""Sentences, tables and pictures that more than one page has, as HTML."""

import io
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from .. import figures
from ..codes import Key, label, names_of
from ..evaluation import Clustering
from ..inference import Information, in_words
from ..infogan import InfoGAN
from .text import anchor, escaped, nats, plural, uri

__all__ = ["carried", "cell", "confusion", "declaration", "drawing", "heat", "traversal"]


def carried(gan: InfoGAN, information: Mapping[Key, Information]) -> Iterable[str]:
    """What each code carries, a sentence each."""
    for key, info in information.items():
        name = f"<strong>{escaped(label(key))}</strong>"
        if info.silent:
            yield f"{name} carries nothing: L_I is {nats(info)} nats."
        elif all(map(gan.prior.is_discrete, names_of(key))):
            yield f"{name} carries {nats(info)} nats, of {info.entropy:.3f} that it can."
        else:
            yield f"{name} carries {nats(info)} nats."


def declaration(gan: InfoGAN, information: Mapping[Key, Information]) -> str:
    """The section of what was declared, a row a code, which links to the code's own section."""
    rows, sites = [], gan.prior.present()
    for key, info in information.items():
        priors = "<br>".join(escaped(in_words(sites[name])) for name in names_of(key))
        rows.append(
            f'<tr><th scope="row"><a href="#{escaped(anchor(label(key)))}">{escaped(label(key))}'
            f'</a></th><td>{priors}</td><td class="n">{nats(info)}</td>'
            f'<td class="n">{info.entropy:.3f}</td>'
            f'<td class="n">{gan.information_weights[key]:g}</td></tr>'
        )
    channels, height, width = gan.image_shape
    return f"""
<section aria-labelledby="declaration">
<h2 id="declaration">What was declared</h2>
<div class="scroll"><table>
<caption>Codes, beside {gan.noise} numbers of noise, of {height}×{width} images in
{plural(channels, "channel")}</caption>
<thead><tr><th scope="col">code</th><th scope="col">prior</th><th scope="col" class="n">L_I, nats
</th><th scope="col" class="n">H(c), nats</th><th scope="col" class="n">λ</th></tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>
</section>"""


def drawing(figure: Figure) -> str:
    """A figure as the address of an image."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    return uri(file.getvalue())


def traversal(
    gan: InfoGAN,
    title: str,
    name: str,
    element: int,
    rows: int,
    seed: int,
    clusters: Mapping[str, Clustering] | None = None,
) -> str:
    """A traversal, with what it shows said beneath.

    Args:
        gan: the trained InfoGAN.
        title: of the code, or of its number.
        name: the code.
        element: which number of it.
        rows: of the traversal.
        seed: of its noise and other codes.
        clusters: categories matched to labels, to order categories by.
    """
    figure = figures.traverse(gan, name, element=element, rows=rows, seed=seed, clusters=clusters)
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    alt = (
        f"Generated images in {rows} rows, each with a noise of its own; "
        f"{figure.axes[0].get_xlabel()} goes from {ticks[0]} to {ticks[-1]} "
        f"across {len(ticks)} columns."
    )
    return f"""<figure class="made"><img src="{drawing(figure)}" alt="{escaped(alt)}">
<figcaption>Generated: {escaped(title)} varies from left to right; each row keeps its noise and
other codes.</figcaption></figure>"""


def heat(caption: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table with shaded cells; the cells are whole ``<td>`` elements."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>{"".join(cells)}</tr>'
        for name, cells in rows.items()
    )
    return (
        f'<figure><figcaption>{caption}</figcaption><div class="scroll"><table class="heat">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
    )


def cell(value: float, text: str, marked: bool = False, title: str = "") -> str:
    """A cell of :func:`heat`.

    Args:
        value: how dark it is, in [0, 1].
        text: as HTML.
        marked: whether it is framed.
        title: what a pointer over it shows.
    """
    kind = ' class="alike"' if marked else ""
    return f'<td{kind} style="--v:{value:.3f}" title="{escaped(title)}">{text}</td>'


def confusion(title: str, one: Clustering) -> str:
    """How many images of each label fall in each category."""
    rows = {}
    for kind in one.order:
        row = one.confusion[kind]
        total = max(sum(row), 1)
        rows[f"{title} = {kind}"] = [
            cell(count / total, f"{count:,}", place == one.matching[kind], f"{count / total:.1%}")
            for place, count in enumerate(row)
        ]
    columns = [str(place) for place in range(len(one.confusion[0]))]
    caption = (
        f"Images of each label (columns) in each category of {escaped(title)}. Under the best "
        f"matching of one to one, which is framed, {one.accuracy:.1%} are in their label’s "
        f"category; NMI {one.nmi:.3f}, adjusted Rand index {one.ari:.3f}."
    )
    return f"<h3>{escaped(title)} against the labels</h3>{heat(caption, columns, rows)}"
