"""What pages have in common: one HTML file with everything in it, for eyes, ears and paper.

:func:`document` is the whole page; the rest are parts of it, as HTML.
"""

from .charts import chart
from .document import document
from .parts import carried, cell, confusion, declaration, drawing, heat, traversal
from .text import BOUND, anchor, escaped, joined, nats, number, plural, uri

__all__ = [
    "BOUND",
    "anchor",
    "carried",
    "cell",
    "chart",
    "confusion",
    "declaration",
    "document",
    "drawing",
    "escaped",
    "heat",
    "joined",
    "nats",
    "number",
    "plural",
    "traversal",
    "uri",
]
