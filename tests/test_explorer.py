"""The explorer: controls from declarations, pictures for them, and the page in a real browser."""

import asyncio
import math
import queue
import re
import shutil
import socket
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from pyro import poutine
from torch import nn

from pyro_infogan import InfoGAN, figures
from pyro_infogan.cli import main
from pyro_infogan.codes import CodePrior
from pyro_infogan.controls import Choice, Coordinate, Dial, Panel, Share, Slider, Switch
from pyro_infogan.errors import DataError, RunError
from pyro_infogan.explorer import pictures
from pyro_infogan.explorer.serving import listening, server
from pyro_infogan.inference import families

LEANING = torch.linspace(-1.0, 1.0, 3)


def every_code():
    return {
        "digit": dist.Categorical(torch.ones(3)),
        "hot": dist.OneHotCategorical(torch.ones(3)),
        "flag": dist.Bernoulli(0.5),
        "tosses": dist.Binomial(4, 0.5),
        "slant": dist.Uniform(-1.0, 1.0),
        "far": dist.Normal(50.0, 2.0),
        "angle": dist.VonMises(1.0, 1.0),
        "mix": dist.Dirichlet(torch.ones(3)),
        "mixes": dist.Dirichlet(torch.ones(2, 2)).to_event(1),
        "kinds": dist.Categorical(torch.ones(3)).expand([2]).to_event(1),
        "hots": dist.OneHotCategorical(torch.ones(2)).expand([2]).to_event(1),
        "flags": dist.Bernoulli(0.5).expand([2]).to_event(1),
        "matrix": dist.Normal(torch.zeros(2, 2), 1.0).to_event(2),
        "angles": dist.VonMises(0.0, 1.0).expand([2]).to_event(1),
    }


def leaning_codes():
    digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
    pyro.sample("slant", dist.Normal(LEANING[digit], 0.3))


def vivid(codes, shape=(1, 8, 8), **others):
    """An InfoGAN whose images differ to the eye, though it is untrained."""
    gan = InfoGAN(codes, shape, noise=4, **others).eval()
    with torch.no_grad():
        for weight in gan.generator.parameters():
            weight.mul_(6.0)
    return gan


def controls_of(codes):
    return {control.title: control for control in Panel(CodePrior(codes)).controls}


# Controls


def test_every_kind_of_code_has_its_control():
    found = controls_of(every_code())
    kinds = {title: type(control) for title, control in found.items()}
    assert kinds["digit"] is kinds["hot"] is kinds["tosses"] is kinds["hots[1]"] is Choice
    assert kinds["flag"] is kinds["flags[0]"] is Switch
    assert kinds["slant"] is kinds["matrix[3]"] is Slider
    assert kinds["angle"] is kinds["angles[1]"] is Dial
    assert kinds["mix[2]"] is kinds["mixes[3]"] is Share
    assert len(found["tosses"].labels) == 5
    assert (found["slant"].low, found["slant"].start, found["slant"].high) == (-2.0, 0.0, 2.0)
    assert found["slant"].about == "prior from −1 to 1"
    assert (found["far"].low, found["far"].high) == (46.0, 54.0)
    assert found["angle"].high - found["angle"].low == pytest.approx(2 * math.pi)
    assert found["angle"].start == 1.0


def test_controls_span_what_figures_show():
    gan = InfoGAN(
        {name: every_code()[name] for name in ("slant", "far", "angle", "tosses")}, (1, 8, 8)
    )
    for control in Panel(gan.prior).controls:
        ticks = figures.traverse(gan, control.title, rows=1).axes[0].get_xticklabels()
        swept = control.sweep(len(ticks))
        shown = [number for to in (swept[0], swept[-1]) for number in control.numbers(to)]
        told = [float(ticks[end].get_text()) for end in (0, -1)]
        assert shown == pytest.approx(told, abs=0.01)


def test_codes_and_positions_are_each_others_way_back():
    prior = CodePrior(every_code())
    panel = Panel(prior)
    drawn = prior.draw(20)
    rows = [panel.positions({name: value[i] for name, value in drawn.items()}) for i in range(20)]
    again = panel.codes(rows)
    for name, value in drawn.items():
        if name.startswith("angle"):
            assert (value - again[name]).cos().min() > 1 - 1e-6
        else:
            torch.testing.assert_close(again[name], value.float())
    # What the controls begin with can be held.
    prior.hold(panel.codes([panel.start]), 1)


def test_counts_have_whole_steps_from_their_least():
    (control,) = controls_of({"n": dist.Poisson(4.0)}).values()
    assert control.whole
    assert (control.low, control.start, control.high) == (0.0, 4, 8)
    assert all(to == round(to) for to in control.sweep(5))
    assert control.position([2.6]) == 3
    tosses = dist.Binomial(torch.tensor([[4.0], [9.0]]), torch.tensor([0.2, 0.9]))
    either = dist.Categorical(torch.ones(2))
    mixtures = {
        "events": dist.MixtureSameFamily(either, dist.Poisson(torch.tensor([1.0, 5.0]))),
        "tosses": dist.MixtureSameFamily(either.expand([2]), tosses).to_event(1),
    }
    panel = Panel(CodePrior(mixtures))
    # Poissons of 1 and 5 have mean 3 and variance 7; of the tosses all can be seen.
    ends = [(control.low, control.start, control.high) for control in panel.controls]
    assert ends == [(0, 3, 9), (0, 2, 4), (0, 5, 9)]
    rows = [
        panel.moved(panel.start, index, to)
        for index, control in enumerate(panel.controls)
        for to in control.sweep(20)
    ]
    CodePrior(mixtures).hold(panel.codes(rows), len(rows))
    with pytest.raises(DataError, match="hang together"):
        Panel(CodePrior({"n": dist.Multinomial(4, torch.ones(3))}))


def test_shares_give_way_to_each_other():
    panel = Panel(CodePrior({"slant": dist.Normal(0.0, 1.0), "mix": dist.Dirichlet(torch.ones(3))}))
    assert panel.beside(0) == []
    assert panel.beside(2) == [1, 3]
    moved = panel.moved([0.7, 0.2, 0.2, 0.6], 2, 0.6)
    assert moved == pytest.approx([0.7, 0.1, 0.6, 0.3])
    assert panel.moved([0.0, 0.0, 1.0, 0.0], 2, 0.5) == pytest.approx([0.0, 0.25, 0.5, 0.25])
    # Sliders are rounded on their way; codes are on the simplex all the same.
    rough = panel.codes([[0.0, 0.333, 0.333, 0.333], [0.0, 0.0, 0.0, 0.0]])["mix"]
    torch.testing.assert_close(rough, torch.full((2, 3), 1 / 3))


def test_the_coordinates_of_a_direction_keep_its_length():
    panel = Panel(CodePrior({"way": dist.ProjectedNormal(torch.zeros(3))}))
    assert {type(control) for control in panel.controls} == {Coordinate}
    assert panel.moved([0.0, 0.6, -0.8], 0, -0.6) == pytest.approx([-0.6, 0.48, -0.64])
    assert panel.moved([1.0, 0.0, 0.0], 0, 0.0) == pytest.approx([0.0, 0.5**0.5, 0.5**0.5])
    codes = panel.codes([panel.start, [3.0, 0.0, -4.0]])["way"]
    even = [3**-0.5] * 3
    torch.testing.assert_close(codes, torch.tensor([even, [0.6, 0.0, -0.8]]))


# Pictures


def pixels(source):
    """The array of levels behind an image of a page."""
    (uri,) = re.findall(r'src="(data:image/png[^"]+)"', source)
    with urllib.request.urlopen(uri) as file, Image.open(file) as image:
        return torch.tensor(np.array(image)).long().reshape(image.height, image.width, -1)


def levels(image):
    return (image * 255).round().long().permute(1, 2, 0)


def test_held_codes_are_pyros_do():
    gan = vivid(leaning_codes)
    panel = Panel(gan.prior)
    noise = pictures.draw_noise(gan, 0)
    held = {"digit": torch.tensor(2), "slant": torch.tensor(-1.0)}
    with torch.no_grad():
        program = poutine.do(poutine.condition(gan.model, {"noise": noise[:1]}), held)
        expected = program(1)[0]
    assert torch.equal(pixels(pictures.single(gan, panel, noise, [2, -1.0])), levels(expected))


def test_codes_are_drawn_from_their_joint_prior():
    gan = vivid(leaning_codes)
    panel = Panel(gan.prior)
    rows = [pictures.draw_codes(gan, panel, seed) for seed in range(60)]
    assert rows[3] == pictures.draw_codes(gan, panel, 3)
    first, last = ([slant for digit, slant in rows if digit == kind] for kind in (0, 2))
    assert sum(first) / len(first) < -0.5 < 0.5 < sum(last) / len(last)


def test_a_grid_has_the_image_of_each_place():
    gan = vivid({"digit": dist.Categorical(torch.ones(3)), "mix": dist.Dirichlet(torch.ones(2))})
    panel = Panel(gan.prior)
    noise = pictures.draw_noise(gan, 0)
    positions = [1, 0.5, 0.5]
    both = pixels(pictures.grid(gan, panel, noise, positions, across=1, down=0))
    # Nine shares by three categories, each with a line around its 8 pixels.
    assert both.shape[:2] == (30, 90)
    cell = both[21:29, 81:89]
    assert torch.equal(cell, pixels(pictures.single(gan, panel, noise, [2, 1.0, 0.0])))
    rows = pictures.grid(gan, panel, noise, positions, across=0, down=None)
    cell = pixels(rows)[11:19, 21:29]
    assert torch.equal(cell, pixels(pictures.single(gan, panel, noise[1:], [2, 0.5, 0.5])))
    assert re.findall(r"<span>(\d+)</span>", rows) == ["0", "1", "2"]


def bar_heights(card):
    return [float(height) for height in re.findall(r'class="bar"[^>]*height="([\d.]+)"', card)]


def test_a_reading_is_what_q_says():
    gan = vivid({name: every_code()[name] for name in ("digit", "flag", "slant", "angle")})
    with torch.no_grad():
        for weight in gan.posterior.parameters():
            weight.mul_(20.0)
    image = torch.rand(1, 8, 8)
    found = pictures.read(gan, Panel(gan.prior), image)
    q = gan.infer(image[None])
    digit, flag, slant, angle = found.positions
    assert digit == q["digit"].probs[0].argmax()
    assert flag == (q["flag"].probs[0] > 0.5)
    assert slant == pytest.approx(q["slant"].mean.item(), abs=1e-5)
    assert math.cos(angle - q["angle"].loc.item()) > 1 - 1e-6
    cards = found.charts.split("<figure>")[1:]
    heights = torch.tensor(bar_heights(cards[0]))
    expected = q["digit"].probs[0]
    torch.testing.assert_close(heights / heights.sum(), expected, atol=0.01, rtol=0)
    # A density is highest at its mode, where that is within the control's range.
    heights = torch.tensor(bar_heights(cards[3]))
    mode = -math.pi + 1.0 + (heights.argmax() + 0.5) * 2 * math.pi / len(heights)
    assert torch.cos(mode - q["angle"].loc[0]) > 0.8


class Guided(nn.Module):
    """A guide over all codes, in which slant depends on digit."""

    def __init__(self, prior, features):
        super().__init__()
        self.logits = nn.Linear(features, 3)

    def forward(self, features):
        digit = pyro.sample("digit", dist.Categorical(logits=self.logits(features)))
        pyro.sample("slant", dist.Normal(LEANING[digit], 0.3))


@pytest.mark.parametrize(
    ("codes", "posterior"),
    [
        (every_code(), None),
        (leaning_codes, None),
        (leaning_codes, Guided),
        (
            {"slant": dist.Uniform(-1.0, 1.0), "width": dist.Normal(0.0, 1.0)},
            {("slant", "width"): families.MultivariateNormal},
        ),
    ],
)
def test_every_declaration_is_read_and_fitted(codes, posterior):
    gan = vivid(codes, (3, 8, 8), posterior=posterior)
    panel = Panel(gan.prior)
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    found = pictures.read(gan, panel, image)
    assert found.charts.count("<svg") == len(panel.controls)
    for to in (found.positions, panel.start, pictures.draw_codes(gan, panel, 1)):
        assert pixels(pictures.single(gan, panel, pictures.draw_noise(gan, 0), to)).shape == (
            8,
            8,
            3,
        )


def test_a_fit_is_where_its_controls_are(monkeypatch):
    monkeypatch.setattr(pictures, "_STEPS", 5)
    gan = vivid({"digit": dist.Categorical(torch.ones(2)), "slant": dist.Uniform(-1.0, 1.0)})
    panel = Panel(gan.prior)
    found = pictures.fitted(gan, panel, torch.rand(1, 8, 8))
    picture = pixels(pictures.single(gan, panel, found.noise, found.positions))
    reconstruction = pixels(found.shown.split("<figure>")[2])
    assert (picture - reconstruction).abs().max() <= 1


def test_pictures_leave_the_callers_random_state():
    gan = vivid(leaning_codes)
    panel = Panel(gan.prior)
    state = torch.get_rng_state()
    noise = pictures.draw_noise(gan, 1)
    pictures.draw_codes(gan, panel, 1)
    pictures.single(gan, panel, noise, panel.start)
    pictures.read(gan, panel, torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), state)


# The server


def test_a_taken_port_is_told():
    with listening(0) as listener:
        port = listener.getsockname()[1]
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(RunError, match="--port"):
            listening(port)
    with pytest.raises(RunError, match="free port"):
        listening(99_999)


def test_a_missing_gradio_is_told_before_the_run_is_read(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit):
        main(["explore", "nowhere"])
    assert "pip install 'pyro-infogan[explore]'" in capsys.readouterr().err


def test_the_command_serves_a_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    import uvicorn

    served = []

    async def serve(self, sockets):
        served.extend(listener.getsockname() for listener in sockets)

    monkeypatch.setattr(uvicorn.Server, "serve", serve)
    monkeypatch.setattr("webbrowser.open", pytest.fail)
    vivid({"slant": dist.Uniform(-1.0, 1.0)}).save(tmp_path / "small.pt")
    main(["explore", str(tmp_path / "small.pt"), "--no-browser"])
    ((host, port),) = served
    assert host == "127.0.0.1"
    assert f"small.pt: http://127.0.0.1:{port}/" in capsys.readouterr().out


# The page, in a browser. Playwright's event loop runs from here on.

BROWSER = shutil.which("chromium")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Debian chromium here")


@pytest.fixture(scope="module")
def site():
    """Address of a page in a server of its own, its InfoGAN, and where this process connected."""
    pytest.importorskip("gradio")
    torch.manual_seed(0)
    names = ("digit", "flag", "slant", "angle", "mix")
    gan = vivid({name: every_code()[name] for name in names})
    connected = []
    connect = socket.socket.connect

    def recorded(self, address):
        connected.append(address)
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch, listening(0) as listener:
        patch.setattr(socket.socket, "connect", recorded)
        patch.setattr(pictures, "_STEPS", 5)
        started: queue.Queue = queue.Queue()

        async def serving():
            ready = server(gan, "small")
            started.put(ready)
            await ready.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=[serving()])
        thread.start()
        ready = started.get(timeout=300)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/", gan, connected
        ready.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(site, browser):
    """The page, freshly opened, that must request nothing from elsewhere and fail nowhere."""
    address, _, connected = site
    opened = browser.new_page()
    opened.set_default_timeout(120_000)
    requests, errors = [], []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: errors.append(error))
    opened.goto(address)
    opened.wait_for_selector("#picture img")
    yield opened
    opened.close()
    outside = [url for url in requests if not url.startswith((address, "data:", "blob:"))]
    assert any(url.startswith(address) for url in requests)
    assert (outside, errors) == ([], [])
    assert [to for to in connected if isinstance(to, tuple) and to[0] != "127.0.0.1"] == []


def source(page):
    return page.get_attribute("#picture img", "src")


def changed(page, before):
    """The picture, once it is another."""
    page.wait_for_function(
        "before => document.querySelector('#picture img').src !== before", arg=before
    )
    return source(page)


def slide(page, title, *values):
    """Drag a slider over some values, without a pause."""
    page.locator(f"[id='code-{title}'] input[type=range]").evaluate(
        """(range, values) => { for (const value of values) {
            range.value = value; range.dispatchEvent(new Event('input', {bubbles: true})); } }""",
        list(values),
    )


def settled(page, expected):
    page.wait_for_function(
        "expected => document.querySelector('#picture').innerHTML.includes(expected)", arg=expected
    )


def uri(html):
    return re.findall(r'src="([^"]+)"', html)[0]


@in_a_browser
def test_a_moved_control_changes_the_picture(page, site):
    _, gan, _ = site
    panel, noise = Panel(gan.prior), pictures.draw_noise(gan, 0)
    assert source(page) == uri(pictures.single(gan, panel, noise, panel.start))
    slide(page, "slant", 1.5)
    moved = panel.moved(panel.start, 2, 1.5)
    settled(page, uri(pictures.single(gan, panel, noise, moved)))
    seen = source(page)
    page.click("#code-digit label:nth-of-type(3)")
    seen = changed(page, seen)
    page.click("#code-flag input")
    seen = changed(page, seen)
    moved = panel.moved(panel.moved(moved, 0, 2), 1, True)
    assert seen == uri(pictures.single(gan, panel, noise, moved))


@in_a_browser
def test_the_last_of_many_moves_counts(page, site):
    _, gan, _ = site
    panel, noise = Panel(gan.prior), pictures.draw_noise(gan, 0)
    slide(page, "slant", *[round(-2 + 0.1 * step, 1) for step in range(37)])
    settled(page, uri(pictures.single(gan, panel, noise, panel.moved(panel.start, 2, 1.6))))


@in_a_browser
def test_the_dial_turns(page):
    before, face = source(page), page.locator("[id='code-angle'] svg")
    box = face.bounding_box()
    right, above = box["width"] / 2, box["height"] / 2 - 20
    # Unlike gradio's own controls, it listens only some time after it is drawn.
    page.wait_for_function(
        """([address, x, y]) => {
            const face = document.querySelector(address), box = face.getBoundingClientRect();
            const at = {bubbles: true, buttons: 1, clientX: box.left + x, clientY: box.top + y};
            face.dispatchEvent(new PointerEvent('pointermove', at));
            return document.querySelector('#code-angle output').textContent === '90°';
        }""",
        arg=["#code-angle svg", right, above],
    )
    seen = changed(page, before)
    face.hover(position={"x": right, "y": above})
    page.mouse.down()
    box = face.bounding_box()
    page.mouse.move(box["x"] + right - 20, box["y"] + above + 20, steps=4)
    page.mouse.up()
    page.wait_for_function(
        "() => document.querySelector('#code-angle output').textContent === '180°'"
    )
    seen = changed(page, seen)
    page.focus("[id='code-angle'] .dial")
    page.keyboard.press("ArrowUp")
    changed(page, seen)


@in_a_browser
def test_shares_move_each_other_on_the_page(page):
    slide(page, "mix[0]", 0.5)
    for other in ("mix[1]", "mix[2]"):
        page.wait_for_function(
            "title => document.getElementById(title).querySelector('input').value === '0.25'",
            arg=f"code-{other}",
        )


@in_a_browser
def test_new_noise_and_new_codes(page, site):
    _, gan, _ = site
    panel = Panel(gan.prior)
    page.click("#new-noise")
    expected = pictures.single(gan, panel, pictures.draw_noise(gan, 1), panel.start)
    settled(page, uri(expected))
    before = source(page)
    page.click("#new-codes")
    seen = changed(page, before)
    drawn = pictures.draw_codes(gan, panel, 2)
    assert seen == uri(pictures.single(gan, panel, pictures.draw_noise(gan, 1), drawn))
    slant = page.input_value("#code-slant input[type=number]")
    assert float(slant) == pytest.approx(drawn[2], abs=1e-3)


@in_a_browser
def test_a_slider_widens_for_what_lies_beyond_it(page, site, monkeypatch):
    _, gan, _ = site
    panel, noise = Panel(gan.prior), pictures.draw_noise(gan, 0)
    far = panel.moved(panel.start, 2, 3.5)
    monkeypatch.setattr("pyro_infogan.explorer.page.draw_codes", lambda *_: far)
    page.click("#new-codes")
    settled(page, uri(pictures.single(gan, panel, noise, far)))
    # The server takes the position beyond the first range, too.
    page.click("#code-flag input")
    settled(page, uri(pictures.single(gan, panel, noise, panel.moved(far, 1, True))))


@in_a_browser
def test_a_grid_sweeps_two_codes(page, site):
    _, gan, _ = site
    panel, noise = Panel(gan.prior), pictures.draw_noise(gan, 0)
    page.click("#grid input")
    settled(page, uri(pictures.grid(gan, panel, noise, panel.start, 0, None)))
    page.click("#down input")
    page.click("ul[role=listbox] li:has-text('slant')")
    settled(page, uri(pictures.grid(gan, panel, noise, panel.start, 0, 2)))
    # Controls that are not swept still move.
    slide(page, "mix[0]", 0.9)
    moved = panel.moved(panel.start, 4, 0.9)
    settled(page, uri(pictures.grid(gan, panel, noise, moved, 0, 2)))


@in_a_browser
def test_a_real_image_is_read_and_fitted(page, site, tmp_path):
    _, gan, _ = site
    panel = Panel(gan.prior)
    pattern = torch.randint(0, 256, (8, 8), dtype=torch.uint8)
    Image.fromarray(pattern.numpy()).save(tmp_path / "real.png")
    page.set_input_files("#real input[type=file]", tmp_path / "real.png")
    page.wait_for_selector("#posterior .cards svg")
    assert page.locator("#posterior figure").count() == len(panel.controls)
    page.wait_for_selector("#pair figure:nth-of-type(2):has-text('RMSE')")
    found = pictures.fitted(gan, panel, pattern[None])
    assert (
        page.get_attribute("#pair figure:nth-of-type(2) img", "src")
        == re.findall(r'src="([^"]+)"', found.shown)[1]
    )
    settled(page, uri(pictures.single(gan, panel, found.noise, found.positions)))
    slant = page.input_value("#code-slant input[type=number]")
    assert float(slant) == pytest.approx(found.positions[2], abs=1e-3)
    # From there the hand goes on.
    before = source(page)
    slide(page, "slant", -2)
    changed(page, before)


@in_a_browser
def test_what_is_no_image_is_told(page, tmp_path):
    (tmp_path / "no.png").write_text("no image")
    page.set_input_files("#real input[type=file]", tmp_path / "no.png")
    page.wait_for_selector("#pair .told:has-text('an image that Pillow reads')")
    # The controls stay where they were.
    assert page.input_value("#code-slant input[type=number]") == "0"


def test_the_page_is_this_machines_alone(site):
    address, _, _ = site
    with urllib.request.urlopen(address) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert b"googleapis" not in answer.read()
    elsewhere = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(elsewhere)
