"""A page to explore a run by hand: controls from the declaration, pictures that follow them.

:class:`Panel` has the controls of a declaration and goes from their positions to codes and back;
:func:`explorer` is the page as gradio's Blocks (extra ``explore``), and :func:`serve` serves it on
loopback.
"""

from .controls import Panel
from .page import explorer
from .serving import serve

__all__ = ["Panel", "explorer", "serve"]
