"""What each code found in a set of images: measured, shown on a page, and written to a table.

:func:`discover` has Q read every image and measures what it reads, :func:`page` says it as one HTML
file, and :func:`write_codes` keeps the codes of every image.
"""

from .findings import Discovery, discover
from .inferred import Categories, Inferred, Numbers, inferred
from .page import page
from .table import checked_table, write_codes

__all__ = [
    "Categories",
    "Discovery",
    "Inferred",
    "Numbers",
    "checked_table",
    "discover",
    "inferred",
    "page",
    "write_codes",
]
