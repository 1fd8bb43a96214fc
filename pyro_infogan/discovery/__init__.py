"""What each code found in a set of images: measured, shown on a page, and written to a table.

:func:`discover` has Q read every image and measures what it reads, :func:`page` says it as one HTML
file, and :func:`write_codes` keeps the codes of every image.
"""

from .findings import Discovery, discover
from .page import page
from .table import checked_table, write_codes

__all__ = [
    "Discovery",
    "checked_table",
    "discover",
    "page",
    "write_codes",
]
