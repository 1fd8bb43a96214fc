"""A page to explore a run by hand: controls from the declaration, pictures that follow them.

:class:`Panel` has the controls of a declaration and goes from their positions to codes and back;
:func:`explorer` is the page as gradio's Blocks (extra ``explore``), and :func:`serve` serves it on
loopback.
"""

from .controls import Choice, Control, Dial, Panel, Position, Share, Slider, Switch
from .page import explorer
from .serving import serve

__all__ = [
    "Choice",
    "Control",
    "Dial",
    "Panel",
    "Position",
    "Share",
    "Slider",
    "Switch",
    "explorer",
    "serve",
]
