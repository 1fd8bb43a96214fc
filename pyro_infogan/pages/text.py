"""Words, numbers and bytes as a page writes them."""

import base64
import html
from collections.abc import Sequence

from ..inference import Information

__all__ = ["BOUND", "anchor", "escaped", "joined", "nats", "number", "plural", "uri"]

BOUND = """L_I is a lower bound, in nats, on what the generated images tell about a code, with its
standard error. H(c) is the entropy of the code’s prior, the most that a discrete code can carry; of
a continuous code it is differential, and L_I may be above it."""
"""What a page says of L_I."""


def escaped(value: object) -> str:
    """For HTML, also where a file name is not Unicode."""
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode())


def anchor(name: str) -> str:
    """The id of a code's section, yet to be escaped."""
    return f"code-{name}"


def plural(count: int, noun: str) -> str:
    """A count of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def number(value: float) -> str:
    """Three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "−")


def joined(parts: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def nats(info: Information) -> str:
    """L_I with its standard error."""
    return f"{info.bound:.3f} ± {info.error:.3f}".replace("-", "−")


def uri(picture: bytes, kind: str = "png") -> str:
    """A picture as the address of itself."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
