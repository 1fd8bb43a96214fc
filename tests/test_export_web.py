"""The page of a generator: its controls, its pictures in a real browser, and what it is made of."""

import functools
import hashlib
import http.server
import json
import math
import shutil
import subprocess
import tarfile
import threading
from base64 import b64encode

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_infogan import InfoGAN
from pyro_infogan.errors import RunError
from pyro_infogan.export import runtime as npm
from pyro_infogan.export.controls import described
from pyro_infogan.export.graphs import Graph
from pyro_infogan.export.web import write_page

from .test_export import dense, lively

CODES = {
    "digit": dist.Categorical(torch.ones(3)),
    "hot": dist.OneHotCategorical(torch.ones(2, 3)).to_event(1),
    "many": dist.Categorical(torch.ones(40)),
    "bold": dist.Bernoulli(0.5),
    "slant": dist.Uniform(-1.0, 1.0),
    "style": dist.Normal(5.0, 2.0).expand([2]).to_event(1),
    "turn": dist.VonMises(0.0, 1.0),
    "mix": dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
    "way": dist.ProjectedNormal(torch.zeros(2)),
}


@pytest.fixture(scope="module")
def gan():
    torch.manual_seed(0)
    return lively(InfoGAN(CODES, (3, 8, 10), noise=3, networks=dense)).eval()


def controls(gan):
    return {one["label"]: one for code in described(gan) for one in code["controls"]}


def test_controls_follow_from_the_declaration(gan):
    found = controls(gan)
    kinds = {label: one["kind"] for label, one in found.items()}
    assert kinds == {
        "digit": "choice",
        "hot[0]": "choice",
        "hot[1]": "choice",
        "many": "choice",
        "bold": "switch",
        "slant": "slider",
        "style[0]": "slider",
        "style[1]": "slider",
        "turn": "slider",
        "mix[0]": "linked",
        "mix[1]": "linked",
        "mix[2]": "linked",
        "way[0]": "linked",
        "way[1]": "linked",
    }
    assert [option["values"] for option in found["digit"]["options"]] == [[0], [1], [2]]
    assert found["hot[1]"]["at"] == [3, 4, 5]
    assert found["hot[1]"]["options"][1]["values"] == [0.0, 1.0, 0.0]
    # Twice the range of an interval, and of a normal's deviation.
    ends = ("low", "high", "inside")
    assert [found["slant"][end] for end in ends] == [-2.0, 2.0, [-1.0, 1.0]]
    assert [found["style[1]"][end] for end in ends] == [1.0, 9.0, [3.0, 7.0]]
    # An angle goes once around, in degrees.
    assert [found["turn"][end] for end in ends[:2]] == pytest.approx([-180.0, 180.0])
    assert found["turn"]["factor"] * 180 == pytest.approx(math.pi)
    assert found["mix[2]"]["among"] == [0, 1, 2]
    # Every code starts at a value that the generator takes.
    for code in described(gan):
        start = torch.tensor(code["start"]).reshape(code["shape"])
        gan.prior.fitted(code["name"], start, (2,))
    json.dumps(described(gan), allow_nan=False)


class Count(nn.Module):
    def __init__(self, prior, features):
        super().__init__()
        self.rate = nn.Linear(features, 1)

    def forward(self, features):
        return dist.Poisson(self.rate(features).squeeze(-1).exp())


def test_controls_of_counts_and_programs():
    codes = {"count": dist.Poisson(3.0)}
    gan = InfoGAN(codes, (1, 8, 8), noise=1, posterior={"count": Count}, networks=dense)
    ((count,),) = (code["controls"] for code in described(gan))
    assert (count["low"], count["step"]) == (0.0, 1.0)
    assert count["high"] == math.ceil(3 + 2 * math.sqrt(3))

    def program():
        kind = pyro.sample("kind", dist.Categorical(torch.ones(3)))
        ends = torch.tensor([0.0, 2.0, 5.0])[kind]
        pyro.sample("size", dist.Uniform(ends, ends + 3.0))

    found = controls(InfoGAN(program, (1, 8, 8), noise=1, networks=dense))
    assert len(found["kind"]["options"]) == 3
    # Wherever any kind has it.
    assert found["size"]["inside"] == [0.0, 8.0]


# In a browser


@pytest.fixture(scope="module")
def folder(gan, tmp_path_factory):
    """The page's files, where onnxruntime-web can be had."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    try:
        npm.runtime()
    except RunError as error:
        pytest.skip(str(error))
    from pyro_infogan.export import generator_graph

    path = tmp_path_factory.mktemp("export") / "web"
    write_page(gan, generator_graph(gan), path, "A <small> one & its codes")
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def opened(browser, address):
    """A page that has drawn its first picture; what it asked for, and what it complained of."""
    page = browser.new_page()
    page.set_default_timeout(300_000)
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda said: page.complaints.append(said.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#controls:not([hidden]), .failed")
    assert page.locator(".failed").count() == 0, page.inner_text("#status")
    settle(page)
    return page


def settle(page):
    page.evaluate("explorer.settled")


@pytest.fixture(scope="module")
def page(browser, site):
    page = opened(browser, site)
    yield page
    page.close()


CELLS = """() => {
    const { n, noise, codes } = explorer.choice.cells();
    return { n, noise: Array.from(noise), codes: Object.fromEntries(codes) };
}"""


def shown(page):
    """The page's images, and noise and codes that they are of."""
    settle(page)
    cells = page.evaluate(CELLS)
    n = cells["n"]
    codes = {
        name: torch.tensor(cells["codes"][name]).reshape(n, *prior.event_shape)
        for name, prior in CODES.items()
    }
    pixels = torch.tensor(page.evaluate("Array.from(explorer.pixels)"))
    return pixels.reshape(n, 3, 8, 10), torch.tensor(cells["noise"]).reshape(n, 3), codes


def check_images(page, gan):
    """The page's images, if they are those that Python generates."""
    images, noise, codes = shown(page)
    torch.testing.assert_close(images, gan.generate(len(images), codes, noise), atol=1e-4, rtol=0)
    return images, codes


def test_a_slider_moves_the_picture(page, gan):
    before, codes = check_images(page, gan)
    assert len(before) == 16
    assert (codes["slant"] == 0).all()
    page.get_by_label("slant", exact=True).press("End")
    after, codes = check_images(page, gan)
    assert (codes["slant"] == 2).all()
    assert (after - before).abs().mean() > 0.01
    # The canvas has the same, as bytes.
    canvas = page.evaluate("""() => {
        const canvas = document.getElementById("picture");
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return { width: canvas.width, data: Array.from(data.data) };
    }""")
    assert canvas["width"] == 4 * 11 - 1
    drawn = torch.tensor(canvas["data"]).reshape(-1, canvas["width"], 4)
    last = drawn[-8:, -10:, :3].permute(2, 0, 1).float() / 255
    torch.testing.assert_close(last, after[-1], atol=0.51 / 255 + 1e-4, rtol=0)


def test_every_kind_of_control_works(page, gan):
    page.get_by_label("digit 2").check(force=True)
    page.get_by_label("hot[1] 1").check(force=True)
    page.get_by_label("many", exact=True).select_option("17")
    page.get_by_label("bold", exact=True).check()
    page.get_by_label("style[1]", exact=True).press("Home")
    page.get_by_label("turn", exact=True).press("End")
    page.get_by_label("mix[0]", exact=True).press("End")
    page.get_by_label("way[1]", exact=True).press("Home")
    _, codes = check_images(page, gan)
    assert (codes["digit"] == 2).all()
    assert codes["hot"][0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert (codes["many"] == 17).all()
    assert (codes["bold"] == 1).all()
    assert codes["style"][0].tolist() == [5.0, 1.0]
    assert codes["turn"][0].item() == pytest.approx(math.pi)
    assert codes["mix"][0].tolist() == [1.0, 0.0, 0.0]
    assert codes["way"][0].tolist() == [0.0, -1.0]
    # From nothing, the others come back in equal parts.
    page.get_by_label("mix[0]", exact=True).press("Home")
    page.get_by_label("way[1]", exact=True).fill("0.6")
    _, codes = check_images(page, gan)
    assert codes["way"][0].tolist() == pytest.approx([0.8, 0.6])
    assert codes["mix"][0].tolist() == [0.0, 0.5, 0.5]
    page.get_by_role("button", name="Reset the codes").click()
    _, codes = check_images(page, gan)
    assert (codes["digit"] == 0).all()
    assert not page.get_by_label("bold", exact=True).is_checked()


def test_new_noise_and_sweeps(page, gan):
    _, noise, codes = shown(page)
    assert len(noise.unique(dim=0)) == 16
    page.get_by_role("button", name="New noise").click()
    check_images(page, gan)
    _, fresh, again = shown(page)
    assert not torch.isclose(fresh, noise).any()
    assert all(torch.equal(again[name], codes[name]) for name in codes)
    page.get_by_label("Left to right").select_option("slant")
    page.get_by_label("Columns").fill("5")
    page.get_by_label("Columns").press("Enter")
    page.get_by_label("Top to bottom").select_option("digit")
    _, codes = check_images(page, gan)
    assert codes["slant"].reshape(3, 5)[0].tolist() == [-2, -1, 0, 1, 2]
    assert codes["digit"].reshape(3, 5)[:, 0].tolist() == [0, 1, 2]
    _, noise, _ = shown(page)
    # One noise, so that what differs is the codes.
    assert (noise == noise[0]).all()
    assert "slant: −2 to 2, left to right" in page.inner_text("#caption")


def test_the_page_asks_for_nothing_else(page, site):
    settle(page)
    assert page.title() == "A <small> one & its codes"
    assert page.complaints == []
    assert {address.removeprefix("blob:")[: len(site)] for address in page.asked} == {site}


def test_the_page_opens_from_a_disk(browser, folder, gan):
    page = opened(browser, folder.joinpath("index.html").as_uri())
    check_images(page, gan)
    assert page.complaints == []
    assert all(address.startswith(("file:", "blob:")) for address in page.asked)
    page.close()


def test_a_graph_too_large_for_a_browser_is_refused(gan, tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_infogan.export.web._LARGEST", 10)
    with pytest.raises(RunError, match="MiB"):
        write_page(gan, Graph(b"0" * 11, (), (), 0.0), tmp_path / "web", "large")
    assert not (tmp_path / "web").exists()


# From npm


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An archive as npm's, and its checksum as that of onnxruntime-web; an empty cache."""
    source = tmp_path / "source"
    for name in npm._FILES:
        (source / "package" / "dist" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "package" / "dist" / name).write_text(name)
    path = tmp_path / "published.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source / "package", "package")
    digest = hashlib.sha512(path.read_bytes()).digest()
    monkeypatch.setattr(npm, "_SHA512", b64encode(digest).decode())
    monkeypatch.setattr(npm.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path / "cache"))
    return path


def test_the_runtime_is_fetched_once_and_kept(published, monkeypatch):
    calls = []

    def pack(command, *, cwd, **_):
        calls.append(command)
        shutil.copy(published, f"{cwd}/{npm.archive().name}")

    monkeypatch.setattr(npm.subprocess, "run", pack)
    for _ in range(2):
        assert npm.runtime() == {name: name.encode() for name in npm._FILES}
    assert len(calls) == 1
    assert calls[0][1:3] == ["pack", f"onnxruntime-web@{npm.VERSION}"]
    # A damaged one is fetched again.
    npm.archive().write_bytes(b"damaged")
    npm.runtime()
    assert len(calls) == 2
    # Another archive than the published one is not kept.
    npm.archive().unlink()
    published.write_bytes(b"another")
    with pytest.raises(RunError, match="another archive"):
        npm.runtime()
    assert not npm.archive().exists()


def test_a_missing_npm_or_network_is_told(published, monkeypatch, gan, tmp_path):
    def offline(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="npm error code ENOTFOUND\n")

    monkeypatch.setattr(npm.subprocess, "run", offline)
    with pytest.raises(RunError, match="ENOTFOUND") as caught:
        npm.runtime()
    # What to do without a network, and it works.
    assert str(npm.archive()) in str(caught.value)
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(RunError, match=r"no npm here.*Install Node\.js"):
        write_page(gan, Graph(b"", (), (), 0.0), tmp_path / "web", "none")
    assert not (tmp_path / "web").exists()
    npm.archive().parent.mkdir(exist_ok=True)
    shutil.copy(published, npm.archive())
    assert set(npm.runtime()) == set(npm._FILES)
