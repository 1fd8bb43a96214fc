"""A folder of static files that runs a generator in any browser, with no Python behind it.

::

    web/
      index.html          the page: what was declared, as data
      explorer.css        its looks
      explorer.js         its controls and pictures
      generator.js        the ONNX graph
      onnxruntime/        onnxruntime-web, which runs it, and its licence

The page opens from a disk as well as from a server: browsers let a page on a disk load scripts, but
neither data nor WebAssembly, so those are scripts too, packed with gzip.
"""

import base64
import gzip
import html
import json
from pathlib import Path
from string import Template

from ..errors import RunError
from ..infogan import InfoGAN
from ..runs import replace, write_text
from .controls import described
from .graphs import Graph
from .runtime import runtime

__all__ = ["write_page"]

_LARGEST = 300 * 2**20
"""Bytes of a graph: browsers take no string beyond half a gigabyte."""
_OWN = ("explorer.css", "explorer.js", "onnxruntime/LICENSE")
_RUNTIME = "onnxruntime"


def write_page(gan: InfoGAN, generator: Graph, folder: str | Path, title: str) -> Path:
    """Write the page and everything that it needs; ``index.html`` comes last.

    Args:
        gan: the trained InfoGAN.
        generator: its graph, from :func:`~pyro_infogan.export.generator_graph`.
        folder: where; files of the same names are replaced.
        title: of the page.

    Returns:
        The page's file.

    Raises:
        RunError: where onnxruntime-web cannot be had, the graph is too large for a browser, or the
            folder cannot be written to.
        DataError: for a code that has no control.
    """
    folder = Path(folder)
    if len(generator.model) > _LARGEST:
        raise RunError(
            "a web page of the generator",
            got=f"a graph of {len(generator.model) / 2**20:,.0f} MiB",
            expected=f"at most {_LARGEST // 2**20} MiB",
            fix="Use the ONNX file itself.",
        )
    library, module, binary = runtime().items()
    for name in _OWN:
        write_text(folder / name, _own(name))
    name, source = library
    replace(folder / _RUNTIME / name, lambda file: file.write(source))
    for name, content in (module, binary):
        _pack(folder / _RUNTIME / f"{name}.js", name, content)
    _pack(folder / "generator.js", "generator", generator.model)
    page = folder / "index.html"
    write_text(page, _page(gan, title))
    return page


def _own(name: str) -> str:
    """A file of this package."""
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _pack(path: Path, name: str, content: bytes) -> None:
    """A script that hands bytes to the page."""
    packed = base64.b64encode(gzip.compress(content, 1, mtime=0)).decode()
    write_text(path, f'packed("{name}", "{packed}");\n')


def _page(gan: InfoGAN, title: str) -> str:
    about = {"image": list(gan.image_shape), "noise": gan.noise, "codes": described(gan)}
    # Inside a script element nothing but its end tag is read as HTML.
    data = json.dumps(about, allow_nan=False).replace("<", "\\u003c")
    return Template(_own("index.html")).substitute(title=html.escape(title), data=data)
