"""The documentation: that it builds without a warning, is whole, asks for nothing, and is true."""

import doctest
import importlib
import inspect
import itertools
import os
import pkgutil
import pydoc
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import tyro
import yaml
from PIL import Image
from sphinx.util.inventory import InventoryFile

import pyro_infogan
from pyro_infogan import cli, datasets, discovery, evaluation, inversion, models

ROOT = Path(pyro_infogan.__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^( *)```(python|sh)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# Modules inside packages that are for users, beside everything at the top.
DEEPER = ("inference.families", "evaluation.channels", "models.networks")


def blocks(page, language):
    """Code of one language on a page, and the line before it."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        if found[2] == language:
            code = "\n".join(line.removeprefix(found[1]) for line in found[3].split("\n"))
            yield text[: found.start()].count("\n") + 1, code


# The pages as they are built


class Asked(HTMLParser):
    """What a browser would fetch for a page, where its links lead, and the places in it."""

    def __init__(self, page):
        super().__init__()
        self.page = page
        self.fetched, self.links, self.places = [], [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places.add(attributes.get("id"))
        if tag == "a" or attributes.get("rel") in ("next", "prev", "index", "search"):
            self.links.append(attributes.get("href"))
        elif tag == "link":
            self.fetched.append(attributes.get("href"))
        self.fetched += [attributes.get(name) for name in ("src", "data", "srcset")]
        self.fetched += re.findall(r"url\(([^)]*)\)", attributes.get("style") or "")

    def file(self, target):
        """The file beside the page that a target names, and the place in it."""
        path, _, place = target.partition("#")
        path = path.partition("?")[0]
        return (self.page.parent / path if path else self.page).resolve(), place


def outside(target):
    return re.match(r"(https?:)?//|mailto:", target)


def check_asks_for_nothing(built):
    """No page or style names a file that is not beside it, and links lead to what is there."""
    pages = {page.resolve(): Asked(page) for page in built.rglob("*.html")}
    for page, asked in pages.items():
        for target in filter(None, asked.fetched):
            assert not outside(target), (page, target)
            assert target.startswith(("data:", "#")) or asked.file(target)[0].is_file(), (
                page,
                target,
            )
        # Sphinx's pages of source miss the place of what is public elsewhere than at home.
        for target in filter(None, [] if "_modules" in page.parts else asked.links):
            path, place = asked.file(target)
            there = path in pages and (not place or place in pages[path].places)
            assert outside(target) or there or (path.is_file() and not place), (page, target)
    for style in built.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text()), style


def public_modules():
    found = pkgutil.iter_modules(pyro_infogan.__path__)
    names = [module.name for module in found if not module.name.startswith("_")]
    return ["pyro_infogan", *(f"pyro_infogan.{name}" for name in (*names, *DEEPER))]


def check_every_public_name_is_there(built):
    inventory = InventoryFile.loads((built / "objects.inv").read_bytes(), uri="").data
    told = {name for kind in inventory if kind.startswith("py:") for name in inventory[kind]}
    # One object may have several public names; one of them is enough.
    objects = [(name, pydoc.locate(name)) for name in told if name.startswith("pyro_infogan")]
    for module in public_modules():
        home = importlib.import_module(module)
        for name in home.__all__:
            value = getattr(home, name)
            known = f"{module}.{name}" in told or any(value is one for _, one in objects)
            assert known, f"{module}.{name} is on no page of docs/api"


def test_pages(tmp_path):
    """All that is asked of the built pages in one test, since building takes its time."""
    built = tmp_path / "html"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    offline = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **offline, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--doctree-dir", str(tmp_path / "doctrees"), str(DOCS), str(built)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check_asks_for_nothing(built)
    check_every_public_name_is_there(built)
    mathematics = (built / "mathematics.html").read_text()
    assert "_static/mathjax/tex-svg.js" in mathematics
    assert mathematics.count('class="eqno"') >= 15
    for notebook in (built / "notebooks").glob("*.html"):
        assert "<img" in notebook.read_text(), "notebooks are shown with their outputs"


# The pages as they are written


def capped(function, **most):
    """A function some of whose numbers are cut short."""
    signature = inspect.signature(function)

    def short(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        for name, limit in most.items():
            given = bound.arguments[name]
            bound.arguments[name] = limit if given is None else min(given, limit)
        return function(*bound.args, **bound.kwargs)

    return short


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """A folder with pictures, and everything that takes long cut short."""
    # Their modules are loaded when asked for, and would keep what is put in place here for good.
    models.built_in()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for shade in range(20):
        picture = Image.new("RGB", (70, 80), (10 * shade, 100, 200))
        picture.save(tmp_path / "photos" / f"{shade}.png")
    for home, name, most in (
        (pyro_infogan, "train", {"steps": 2, "batch_size": 8}),
        (pyro_infogan, "evaluate", {"draws": 50}),
        (pyro_infogan.InfoGAN, "information", {"n": 50}),
        (discovery, "discover", {"draws": 50}),
        (evaluation, "calibrate", {"draws": 50}),
        (evaluation, "fit_reader", {"steps": 2}),
        (evaluation, "probe", {"draws": 2}),
        (inversion, "refine", {"steps": 2, "candidates": 2}),
        (datasets, "rendered_faces", {"n": 64}),
    ):
        monkeypatch.setattr(home, name, capped(getattr(home, name), **most))
    digits = {train: datasets.mnist(train=train).subset(slice(80)) for train in (True, False)}
    monkeypatch.setattr(datasets, "mnist", lambda train=True: digits[train])


@pytest.mark.filterwarnings("ignore:Clustering metrics expects:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_snippets_run(page, quick):
    """Python blocks, in order and in one namespace; with >>> they show what they give."""
    del quick
    namespace = {"__name__": "__main__"}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    for line, code in blocks(page, "python"):
        if code.startswith(">>>"):
            example = parser.get_doctest(code, namespace, page.name, str(page), line)
            runner.run(example, clear_globs=False)
            namespace.update(example.globs)
        else:
            # Empty lines bring a traceback to the line of the page.
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_commands_are_understood(page):
    """Every command line is one, though it is not run."""
    for line, code in blocks(page, "sh"):
        whole = code.replace("\\\n", "")
        for number, command in enumerate(whole.splitlines(), start=line + 1):
            words = shlex.split(command, comments=True)
            if words[:1] == ["pyro-infogan"]:
                try:
                    tyro.cli(
                        tyro.conf.FlagCreatePairsOff[
                            tyro.conf.OmitSubcommandPrefixes[cli.Commands]
                        ],
                        args=words[1:],
                    )
                except SystemExit:
                    pytest.fail(f"{page.name}, line {number}: {command}")


def test_pages_say_something():
    """Else the tests above would pass on nothing."""
    assert sum(1 for page in PAGES for _ in blocks(page, "python")) > 30
    assert sum(1 for page in PAGES for _ in blocks(page, "sh")) > 10


def test_citation():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert {"cff-version", "message", "title", "authors"} <= set(told)
    assert f'version = "{told["version"]}"' in project


def test_changelog_keeps_its_form():
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each) for each in headings[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds
    assert not [
        pair
        for pair in itertools.pairwise(text.splitlines())
        if pair[0].startswith("## ") and pair[1]
    ]
