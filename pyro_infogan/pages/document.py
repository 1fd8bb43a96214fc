"""A page as a whole."""

from collections.abc import Iterable, Mapping, Sequence

from .style import STYLE
from .text import escaped

__all__ = ["document"]


def document(
    title: str,
    about: str,
    *,
    facts: Mapping[str, object],
    links: Sequence[tuple[str, str]],
    sentences: Iterable[str],
    sections: Iterable[str],
    footer: str,
    style: str = "",
) -> str:
    """One HTML file that needs no other and no network, and is forbidden to ask for any.

    Args:
        title: of the page.
        about: what it is, in a line.
        facts: what its head lists.
        links: to sections: the name and the id of each.
        sentences: the page in short, as HTML.
        sections: as HTML.
        footer: as HTML.
        style: rules of this page alone.
    """
    listed = "".join(
        f"<dt>{escaped(key)}</dt><dd>{escaped(value)}</dd>" for key, value in facts.items()
    )
    nav = "".join(
        f'<li><a href="#{escaped(place)}">{escaped(name)}</a></li>' for name, place in links
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escaped(title)}</title>
<style>
{STYLE}
{style}
</style>
</head>
<body>
<header>
<h1>{escaped(title)}</h1>
<p class="soft">{escaped(about)}</p>
<dl>{listed}</dl>
<nav aria-label="Sections"><ul>{nav}</ul></nav>
</header>
<main>
<section aria-labelledby="short">
<h2 id="short">In short</h2>
<ul>{"".join(f"<li>{sentence}</li>" for sentence in sentences)}</ul>
</section>
{"".join(sections)}
</main>
<footer>
<p>{footer}</p>
</footer>
</body>
</html>
"""
