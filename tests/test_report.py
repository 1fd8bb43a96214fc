"""The report of a run: one page, read in a browser without a network."""

import html
import json
import re
import shlex
import shutil

import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN, evaluate
from pyro_infogan.report import page
from pyro_infogan.runs import Run

from .test_cli import EXPERIMENT, call
from .test_discovery import Seen, saved
from .test_factors import drawn, perfect

FACTORS = """
def data(train=True):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    factors = {"<light>": datasets.Factor(torch.linspace(0, 1, 40))}
    return datasets.ImageSet(images, torch.arange(40) % 3, factors)
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A run folder with its report."""
    folder = tmp_path_factory.mktemp("report")
    file = folder / "my_codes.py"
    before, _, rest = EXPERIMENT.partition("def data")
    file.write_text(before + FACTORS + rest[rest.index("\n\n\nsmall") :])
    assert call("train", file, "--out", folder / "run", "--device", "cpu") == 0
    assert call("report", folder / "run", "--draws", 60, "--device", "cpu") == 0
    return folder / "run"


def rows_of(text, place):
    """Text of the rows of a section's tables, cell by cell."""
    section = text.split(f'<h2 id="{place}">')[1].split("</section>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section, re.S)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]


def test_the_report_is_one_file(reported):
    text = (reported / "report.html").read_text()
    seen = Seen(text)
    assert "://" not in text
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in seen.elements}
    assert "url(" not in text
    sources = [each["src"] for tag, each in seen.elements if "src" in each]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    # Bound, game, samples; three codes of which one has two numbers, three of them moving; two of
    # the calibration; the factor.
    assert len(sources) == 3 + 4 + 3 + 1 + 1
    assert all(each.get("alt") for tag, each in seen.elements if tag == "img")
    targets = {each["href"] for tag, each in seen.elements if "href" in each}
    assert {target.removeprefix("#") for target in targets} <= seen.ids


def test_what_the_report_says_is_what_the_run_says(reported):
    text = (reported / "report.html").read_text()
    record = Run(reported).record()
    assert record is not None
    settings = dict(row for row in rows_of(text, "settings") if len(row) == 2)
    assert settings["settings.batch_size"] == "8"
    assert settings["versions.torch"] == record["versions"]["torch"]
    assert settings["declaration.posterior.digit"] == "Categorical"
    assert settings["settings.images"].endswith(record["settings"]["images"][-1])
    assert html.unescape(settings["command"]) == shlex.join(record["command"])
    assert f"(CRC-32) {record['settings']['images'][-1]}" in text
    assert "<dt>steps</dt><dd>12</dd>" in text
    assert "<dt>measured on</dt><dd>60 generated images, 40 held-out ones</dd>" in text
    last = list(Run(reported).metrics())[-1]
    assert f"the discriminator&#x27;s loss is {last['loss_d']:.3g}" in text
    # A factor's name is no element of the page.
    assert "&lt;light&gt;" in text
    assert "<light>" not in text


def test_the_report_has_what_evaluate_measures(tmp_path):
    gan = perfect()
    dataset, codes = drawn(gan, 200)
    dataset = type(dataset)(dataset.images, codes["kind"], dataset.factors)
    measured = evaluate(gan, dataset, draws=200)
    state = torch.get_rng_state()
    text = page(saved(tmp_path, gan, step=7), gan, measured)
    assert torch.equal(torch.get_rng_state(), state)
    for row, info in zip(
        rows_of(text, "declaration")[1:], measured.information.values(), strict=True
    ):
        assert row[2:4] == [f"{info.bound:.3f} ± {info.error:.3f}", f"{info.entropy:.3f}"]
    confusion = measured.clustering["kind"]
    counts = [[int(cell) for cell in row[1:]] for row in rows_of(text, "labels")[1:]]
    assert counts == np.array(confusion.confusion)[confusion.order].tolist()
    assert f"puts {confusion.accuracy:.1%} of the 200 held-out images with a label" in text
    for row, (name, found) in zip(
        rows_of(text, "factors")[1:], measured.following.items(), strict=True
    ):
        assert row == [name, *(f"{value:.2f}" for value in found.every.values())]
    calibrated = next(iter(measured.calibration.values()))
    assert html.unescape(rows_of(text, "calibration")[0][1]) == str(calibrated)
    # A bare folder has neither curves nor settings, and says so.
    assert "keeps no metrics" in text
    assert "keeps no record" in text


def test_codes_that_carry_nothing_and_vectors_without_pictures(tmp_path):
    codes = {
        "many": dist.Normal(0.0, 1.0).expand([5]).to_event(1),
        "hots": dist.OneHotCategorical(torch.ones(2)).expand([2]).to_event(1),
    }
    gan = InfoGAN(codes, (1, 8, 8), noise=2).eval()
    text = page(saved(tmp_path, gan), gan, evaluate(gan, draws=50))
    assert "<strong>many carries nothing.</strong>" in text
    seen = Seen(text)
    assert {"code-many", "code-hots"} <= seen.ids
    assert not {"labels", "factors"} & seen.ids
    # Seven calibrations in two figures.
    shown = [each["alt"] for tag, each in seen.elements if tag == "img"]
    assert sum(alt.startswith("Ranks") for alt in shown) == 2
    assert sum("many[4]" in alt and "move" in alt for alt in shown) == 1


def test_bad_input_of_the_command(reported, tmp_path, capsys):
    bare = saved(tmp_path / "bare", InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (1, 8, 8)))
    text = (reported / "report.html").read_text()
    for arguments, says in (
        ([reported, "--out", tmp_path], "--out"),
        ([reported, "--draws", 1], "--draws"),
        ([reported, "--seed", -1], "--seed"),
        ([reported, "--data", tmp_path], "own images"),
        ([bare.folder, "--data", tmp_path], "no experiment declared"),
        ([tmp_path / "nowhere"], "does not exist"),
    ):
        assert call("report", *arguments, "--device", "cpu") == 1, says
        assert says in capsys.readouterr().err
    assert (reported / "report.html").read_text() == text
    assert not (tmp_path / "nowhere").exists()
    out = tmp_path / "deep" / "own.html"
    assert call("report", bare.folder, "--draws", 50, "--out", out, "--device", "cpu") == 0
    assert out.is_file()
    assert not (bare.folder / "report.html").exists()


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("there is no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_page(browser, file, **looks):
    """A page, and the addresses of all that it asked for."""
    shown = browser.new_page(**looks)
    shown.set_default_timeout(0)
    asked, said = [], []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.goto(file.resolve().as_uri())
    return shown, asked, said


def test_a_browser_shows_it_and_asks_for_nothing(reported, browser):
    file = reported / "report.html"
    shown, asked, said = open_page(browser, file)
    assert [url for url in asked if not url.startswith("data:")] == [file.resolve().as_uri()]
    assert said == []
    headings = shown.locator("h2").all_inner_texts()
    assert headings == [
        "In short",
        "What was declared",
        "Training",
        "Samples",
        "digit",
        "slant",
        "style",
        "Calibration of Q",
        "Categories and labels",
        "Codes and known factors",
        "Settings and versions",
    ]
    widths = shown.eval_on_selector_all("img", "all => all.map(one => one.naturalWidth)")
    assert len(widths) == 12
    assert min(widths) > 0
    assert shown.locator("table.heat").count() == 2
    # On a narrow screen the page itself does not scroll sideways.
    shown.set_viewport_size({"width": 360, "height": 700})
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    shown.close()


def test_the_page_follows_the_readers_wishes(reported, browser):
    file = reported / "report.html"
    backgrounds = []
    for scheme in ("light", "dark"):
        shown, *_ = open_page(browser, file, color_scheme=scheme)
        style = "getComputedStyle(document.body)"
        backgrounds.append(
            [json.dumps(shown.evaluate(f"{style}.{name}")) for name in ("backgroundColor", "color")]
        )
        assert shown.locator(".moving").first.is_visible()
        shown.emulate_media(reduced_motion="reduce")
        assert not shown.locator(".moving").first.is_visible()
        shown.emulate_media(reduced_motion="no-preference", media="print")
        assert not shown.locator(".moving").first.is_visible()
        assert not shown.locator("nav").is_visible()
        shown.close()
    assert backgrounds[0][0] != backgrounds[1][0]
    assert backgrounds[0][1] != backgrounds[1][1]
