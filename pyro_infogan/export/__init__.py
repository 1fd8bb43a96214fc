"""A trained InfoGAN for other programs: ONNX graphs, safetensors, and a page for any browser.

:func:`write` does what the command ``pyro-infogan export`` does. What is needed beyond the library
is the extra ``export``; for the page, onnxruntime-web too, which npm fetches once.
"""

from .graphs import Graph, generator_graph, posterior_graph
from .web import write_page
from .weights import load, read, save
from .write import Written, write

__all__ = [
    "Graph",
    "Written",
    "generator_graph",
    "load",
    "posterior_graph",
    "read",
    "save",
    "write",
    "write_page",
]
