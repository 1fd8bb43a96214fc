"""How Sphinx builds these pages: `make docs`. Nothing is fetched, then or when they are read."""

import inspect
import re
import sys
from importlib.metadata import version as version_of
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

project = "pyro_infogan"
author = "The pyro_infogan developers"
project_copyright = author
release = version = version_of("pyro-infogan")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = []

html_theme = "furo"
html_title = "pyro_infogan"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False

# MathJax 3.2.2 as its npm package has it (es5/tex-svg.js). Its menu could load further parts from
# elsewhere.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# Notebooks are shown with the outputs that they are committed with; tests/test_notebooks.py runs
# them.
nb_execution_mode = "off"
nb_ipywidgets_js = {}

autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "member-order": "bysource",
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 90
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Our own names must lead somewhere; others' are not looked up, since that takes a network.
nitpicky = True
nitpick_ignore_regex = [
    (r".*", r"(?!pyro_infogan).*"),
    # What signatures name and users have no need of.
    (r".*", r"pyro_infogan\.(datasets\.cache\.Writer|inference\.step\.(Drawn|Game))"),
]


# Code, which is left as it is; or a star before a word or comma, after which no word ends in one.
_STAR = re.compile(r"(``.*?``|>>>.*)|(?<=[(\s])\*(?=[\w,])(?![^*]*\w\*)")


def setup(app: Sphinx) -> None:
    """Connect what follows."""
    app.connect("autodoc-skip-member", skipped)
    app.connect("autodoc-process-docstring", documented)
    app.connect("autodoc-process-docstring", escaped)


def skipped(
    app: Sphinx, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields of classes: the class's docstring tells of them."""
    told = inspect.isroutine(member) or isinstance(member, property | type)
    return True if what == "class" and not told else None


def documented(
    app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]
) -> None:
    """Give a constant the text below it, where it is documented in another module than its own."""
    if what == "data":
        home, _, title = name.rpartition(".")
        lines[:] = _text_of(home, title, member) or lines


def _text_of(home: str, title: str, member: Any) -> list[str] | None:
    for place, module in list(sys.modules.items()):
        inside = place.startswith(home) and isinstance(module, ModuleType)
        if inside and vars(module).get(title) is member:
            text = ModuleAnalyzer.for_module(place).find_attr_docs().get(("", title))
            if text:
                return text
    return None


def escaped(app: Sphinx, what: str, name: str, member: Any, options: Any, lines: list[str]) -> None:
    """Shapes such as (*, C, H, W) and (n, *event shape) begin no emphasis."""
    lines[:] = [_STAR.sub(lambda found: found[1] or r"\*", line) for line in lines]
