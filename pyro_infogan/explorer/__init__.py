"""A page to explore a run by hand: controls from the declaration, pictures that follow them.

:func:`explorer` is the page as gradio's Blocks (extra ``explore``), and :func:`serve` serves it on
loopback. Its controls are those of :mod:`pyro_infogan.controls`.
"""

from .page import explorer
from .serving import serve

__all__ = ["explorer", "serve"]
