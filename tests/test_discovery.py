"""What each code found in a set of images: measured, on a page, and in a table."""

import csv
import math
import re
import sys
from functools import partial
from html.parser import HTMLParser

import pyro.distributions as dist
import pytest
import scipy.special
import torch
from PIL import Image
from torch import nn

from pyro_infogan import InfoGAN, families
from pyro_infogan.datasets import ImageSet
from pyro_infogan.discovery import discover, page, write_codes
from pyro_infogan.errors import DataError
from pyro_infogan.evaluation import Categories, Numbers, inferred
from pyro_infogan.models import load_file
from pyro_infogan.models.networks import Pair
from pyro_infogan.runs import Run

from .test_cli import EXPERIMENT, call
from .test_factors import CODES, Pixels, drawn, perfect, reads

EXACT = {
    "light": reads(lambda p: dist.Normal(p[:, 0], 0.1)),
    "style": reads(lambda p: dist.Normal(p[:, 1:3], 0.1).to_event(1)),
    "kind": reads(lambda p: dist.Categorical(logits=9 * p[:, 3:6])),
}
quiet = partial(discover, draws=500, progress=False)


def reading(**posterior):
    """``perfect()`` with other posteriors."""
    return InfoGAN(
        CODES,
        (1, 8, 8),
        noise=3,
        networks=lambda shape, inputs: Pair(Pixels(), nn.Flatten(), 64, hidden=0),
        posterior=EXACT | posterior,
    ).eval()


def named(gan, n=200):
    """Images of known codes, with names and labels; and those codes."""
    dataset, codes = drawn(gan, n)
    names = [f"{index:03}.png" for index in range(n)]
    return ImageSet(dataset.images, codes["kind"], dataset.factors, names), codes


class Seen(HTMLParser):
    """Elements with their attributes, ids, text, and the images beneath each heading."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.ids, self.text, self.beneath = [], set(), [], {}
        self.heading = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self.ids.add(attributes.get("id"))
        if tag in ("h2", "h3", "h4", "strong"):
            self.heading = ""
        if tag == "img" and self.text:
            self.beneath.setdefault(self.last, []).append(attributes["alt"])

    def handle_endtag(self, tag):
        if tag in ("h2", "h3", "h4", "strong"):
            self.last, self.heading = self.heading, None

    def handle_data(self, data):
        self.text.append(data)
        if self.heading is not None:
            self.heading += data


@pytest.fixture(scope="module")
def found():
    gan = perfect()
    dataset, codes = named(gan)
    discovery = quiet(gan, dataset)
    return gan, discovery, codes, page(gan, discovery, "What it found", {"steps": 7})


def test_the_page_is_one_file(found):
    *_, text = found
    seen = Seen(text)
    assert "://" not in text
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in seen.elements}
    assert "url(" not in text
    assert "@import" not in text
    sources = [each["src"] for tag, each in seen.elements if "src" in each]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    targets = [each["href"] for tag, each in seen.elements if "href" in each]
    assert targets
    assert {target.removeprefix("#") for target in targets} <= seen.ids


def test_the_page_can_be_read_aloud(found):
    *_, text = found
    seen = Seen(text)
    assert ("html", {"lang": "en"}) in seen.elements
    assert all(each.get("alt") for tag, each in seen.elements if tag == "img")
    charts = [each for tag, each in seen.elements if tag == "svg"]
    assert len(charts) == 4
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)


def test_every_code_is_on_the_page(found):
    gan, _, _, text = found
    seen = Seen(text)
    assert {f"code-{name}" for name in gan.prior.sites} <= seen.ids
    for title in ("light", "style[0]", "style[1]", "kind"):
        assert any(f"{title} goes from" in alt for alts in seen.beneath.values() for alt in alts)
    assert "7" in seen.text
    assert "carries nothing" not in text


def test_the_images_at_the_ends_are_the_right_ones(found):
    _, _, codes, text = found
    beneath = Seen(text).beneath
    for title, values in (("light", codes["light"]), ("style[1]", codes["style"][:, 1])):
        order = [f"{index:03}.png" for index in values.argsort().tolist()]
        assert beneath[f"Real images with the least {title}, from the least on"] == order[:16]
        assert beneath[f"Real images with the most {title}, from the most on"] == order[::-1][:16]


def test_each_category_has_its_images(found):
    _, discovery, codes, text = found
    kind = discovery.inferred["kind"]
    assert kind.counts.tolist() == codes["kind"].bincount(minlength=3).tolist()
    assert kind.counts.sum() == 200
    shares = kind.counts / 200
    assert kind.use == pytest.approx(-(shares * shares.log()).sum().item(), abs=1e-6)
    beneath = Seen(text).beneath
    for index in range(3):
        shown = beneath[f"kind = {index}"]
        assert len(shown) == 10
        assert all(codes["kind"][int(name[:3])] == index for name in shown)
        assert f"{kind.counts[index]} images, {shares[index]:.1%}" in text


def test_the_surest_images_come_first():
    # Surer of a kind where there is more light.
    gan = reading(
        kind=reads(lambda p: dist.Categorical(logits=3 * (p[:, :1] + 1) * p[:, 3:6])),
    )
    dataset, codes = named(gan)
    text = page(gan, quiet(gan, dataset), "t")
    for index in range(3):
        own = (codes["kind"] == index).nonzero().squeeze(-1)
        best = own[codes["light"][own].argsort(descending=True)][:10]
        assert Seen(text).beneath[f"kind = {index}"] == [f"{i:03}.png" for i in best.tolist()]


def test_independent_codes_are_no_duplicates(found):
    _, discovery, _, text = found
    assert discovery.duplicates == {}
    assert len(discovery.shared) == 6
    assert "No code duplicates another" in text


def test_equal_codes_are_duplicates():
    """Both are read exactly; of these images the one is the other turned round."""
    gan = perfect()
    _, codes = named(gan)
    with torch.no_grad():
        codes["style"][:, 0] = -codes["light"]
        images = gan.decode(torch.zeros(200, 3), codes)
    discovery = quiet(gan, ImageSet(images))
    assert discovery.duplicates == {("light", "style[0]"): ("Spearman", 1.0)}
    text = page(gan, discovery, "t")
    assert "<strong>light</strong> and <strong>style[0]</strong> (|Spearman| 1.00)" in text
    # Framed on both sides of the diagonal.
    assert text.split('id="duplicates"')[1].split("</section>")[0].count('class="alike"') == 2


def test_a_duplicate_that_carries_nothing_is_said_so():
    """Q's mean of a silent code may still move a little with another's."""
    gan = reading(
        light=reads(lambda p: dist.Normal(1e-6 * p[:, 1], 1.0)),
        style=reads(lambda p: dist.Normal(p[:, [1, 2]], 0.1).to_event(1)),
    )
    dataset, _ = named(gan)
    discovery = quiet(gan, dataset, draws=2_000)
    assert discovery.duplicates == {("light", "style[0]"): ("Spearman", 1.0)}
    titles = ("light", "style[0]", "style[1]", "kind")
    assert [discovery.is_silent(title) for title in titles] == [True, False, False, False]
    text = page(gan, discovery, "t")
    assert "<strong>style[0]</strong> (|Spearman| 1.00; light carries nothing)" in text


def test_codes_that_tell_nothing_apart_are_no_duplicates():
    gan = reading(kind=reads(lambda p: dist.Categorical(logits=0 * p[:, 3:6])))
    dataset, _ = named(gan)
    discovery = quiet(gan, ImageSet(dataset.images, torch.zeros(200, dtype=torch.int64)))
    assert discovery.known["label"]["kind"] == ("homogeneity", 0.0)
    assert discovery.inferred["kind"].use == 0.0


def test_what_carries_nothing_is_said_so():
    gan = reading(
        light=reads(lambda p: dist.Normal(0 * p[:, 0], 1.0)),
        style=reads(
            lambda p: dist.Normal(
                torch.stack([p[:, 1], 0 * p[:, 2]], 1), torch.tensor([0.1, 1.0])
            ).to_event(1)
        ),
    )
    dataset, _ = named(gan)
    discovery = quiet(gan, dataset, draws=2_000)
    assert set(discovery.silent) == {"light", "style[1]"}
    numbers = discovery.numbers
    total = sum(info.bound for info in numbers.values())
    assert total == pytest.approx(discovery.information["style"].bound, abs=0.15)
    # Of N(0, 1) read with a deviation of 0.1: −log 0.1 + ½ − ½, but Q's mean is exact here.
    assert numbers["style[0]"].bound == pytest.approx(0.5 - math.log(0.1), abs=0.1)
    text = page(gan, discovery, "t")
    assert "<strong>light carries nothing</strong>" in text
    assert "style[1] carries nothing" in text
    assert "kind carries nothing" not in text


def test_an_angle_is_drawn_around_the_priors_middle():
    """Cut at π, one heap of a prior about 3.1 would be two."""
    gan = InfoGAN({"angle": dist.VonMises(3.1, 40.0)}, (1, 8, 8), noise=2)
    gan.posterior.heads[0].forward = lambda features: dist.VonMises(
        3.1 + 0.1 * torch.linspace(-1, 1, len(features)), 40.0
    )
    discovery = quiet(gan, torch.rand(50, 1, 8, 8))
    text = page(gan, discovery, "angles")
    (ends,) = re.findall(r"Histogram of angle in these images, from ([\d.−]+) to ([\d.]+)", text)
    low, high = (float(end.replace("−", "-")) for end in ends)
    # Eight deviations of the prior at most.
    assert 3.1 - 4 / 40**0.5 < low < 3.0
    assert 3.2 < high < 3.1 + 4 / 40**0.5


def test_few_images_are_said_to_agree_by_chance(found):
    gan, whole, codes, text = found
    warning = "so few agree on much by chance"
    assert warning not in text
    labels = torch.where(torch.arange(200) < 50, codes["kind"], -1)
    partly = page(gan, quiet(gan, ImageSet(whole.images.images, labels)), "partly")
    assert "50 images: so few agree on much by chance" in partly


def test_known_factors_and_labels_are_followed(found):
    _, discovery, _, text = found
    best = {name: max(each, key=lambda t: each[t][1]) for name, each in discovery.known.items()}
    assert best | {"chance": None} == {
        "brightness": "light",
        "angle": "style[1]",
        "type": "kind",
        "label": "kind",
        "chance": None,
    }
    assert discovery.clustering["kind"].accuracy == 1.0
    assert "<strong>kind</strong> follows <em>label</em> best (homogeneity 1.00)" in text
    assert "matched to label 2: 100% of them" in text


def test_images_without_labels_in_part(found):
    gan, whole, codes, _ = found
    labels = torch.where(torch.arange(200) < 50, codes["kind"], -1)
    discovery = quiet(gan, ImageSet(whole.images.images, labels))
    assert sum(map(sum, discovery.clustering["kind"].confusion)) == 50
    assert discovery.known["label"]["kind"] == ("homogeneity", 1.0)
    assert discovery.names[:2] == ["0", "1"]


def test_the_callers_draws_are_left_alone(found):
    gan, discovery, _, _ = found
    before = torch.get_rng_state()
    again = quiet(gan, discovery.images)
    page(gan, again, "t")
    assert torch.get_rng_state().equal(before)
    assert again.information == discovery.information


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_has_a_row_an_image(found, tmp_path):
    _, discovery, codes, _ = found
    write_codes(discovery, tmp_path / "codes.csv")
    rows = rows_of(tmp_path / "codes.csv")
    assert list(rows[0]) == [
        "name",
        *("light.mean", "light.stddev"),
        *("style[0].mean", "style[0].stddev", "style[1].mean", "style[1].stddev"),
        *("kind.category", "kind.probability"),
    ]
    assert [row["name"] for row in rows] == list(discovery.images.names)
    for row, style, kind in zip(rows, codes["style"], codes["kind"], strict=True):
        assert float(row["style[1].mean"]) == pytest.approx(style[1].item(), abs=1e-4)
        assert float(row["style[1].stddev"]) == pytest.approx(0.1)
        assert int(row["kind.category"]) == kind
        assert 0.99 < float(row["kind.probability"]) <= 1


def test_a_table_as_parquet(found, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    _, discovery, _, _ = found
    write_codes(discovery, tmp_path / "codes.parquet")
    table = parquet.read_table(tmp_path / "codes.parquet").to_pydict()
    assert table["name"] == list(discovery.images.names)
    assert table["kind.category"] == discovery.inferred["kind"].chosen.tolist()
    assert table["light.mean"] == discovery.inferred["light"].mean.tolist()


def test_parquet_needs_its_library(found, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=re.escape("pyro-infogan[parquet]")):
        write_codes(found[1], tmp_path / "codes.parquet")
    assert list(tmp_path.iterdir()) == []


def test_names_need_not_be_unicode(found, tmp_path):
    gan, discovery, _, _ = found
    names = ["a\udcff\nb,c.png", *map(str, range(1, 200))]
    discovery = quiet(gan, ImageSet(discovery.images.images, names=names))
    write_codes(discovery, tmp_path / "codes.csv")
    assert b'\n"a\xff\nb,c.png",' in (tmp_path / "codes.csv").read_bytes()
    page(gan, discovery, "t").encode()


KINDS = {
    "spline": (dist.Uniform(-1.0, 1.0), families.Spline),
    "normal": (dist.Uniform(-1.0, 1.0), families.TruncatedNormal),
    "angle": (dist.VonMises(0.0, 0.5), None),
    "flag": (dist.Bernoulli(0.3), None),
    "hot": (dist.OneHotCategorical(torch.tensor([0.7, 0.2, 0.1])), None),
    "hots": (dist.OneHotCategorical(torch.ones(2, 3)).to_event(1), None),
    "kinds": (dist.Categorical(torch.ones(2, 4)).to_event(1), None),
    "share": (dist.Dirichlet(torch.ones(3)), None),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_code(name, images):
    prior, family = KINDS[name]
    gan = InfoGAN({"c": prior}, (1, 8, 8), posterior={"c": family} if family else None).eval()
    discovery = quiet(gan, images)
    text = page(gan, discovery, "t")
    for title, one in discovery.inferred.items():
        assert f"{title} =" in text or f"{title}" in Seen(text).text
        if isinstance(one, Categories):
            assert one.prior.sum() == pytest.approx(1.0, abs=1e-5)
            torch.testing.assert_close(one.probabilities.sum(1), torch.ones(40))
            assert one.counts.sum() == 40
        else:
            assert (one.stddev > 0).all()
    titles = {
        "hots": ["c[0]", "c[1]"],
        "kinds": ["c[0]", "c[1]"],
        "share": ["c[0]", "c[1]", "c[2]"],
    }
    assert list(discovery.inferred) == titles.get(name, ["c"])
    if name == "hot":
        assert discovery.inferred["c"].prior.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert ("once around c" in text) == (name == "angle")


class Guide(nn.Module):
    """A posterior in which the number depends on the category."""

    def forward(self, features):
        import pyro

        bright = features.mean(1) > 0.5
        kind = pyro.sample("kind", dist.Categorical(torch.where(bright[:, None], *CHANCES)))
        pyro.sample("place", dist.Normal(kind.float(), 0.5))


CHANCES = (torch.tensor([0.1, 0.9]), torch.tensor([0.8, 0.2]))


def test_a_guide_is_told_by_draws():
    gan = InfoGAN(
        {"kind": dist.Categorical(torch.ones(2)), "place": dist.Normal(0.0, 1.0)},
        (1, 8, 8),
        networks=lambda shape, inputs: Pair(Flat(inputs), nn.Flatten(), 64, hidden=0),
        posterior=lambda prior, features: Guide(),
    ).eval()
    images = torch.stack([torch.full((1, 8, 8), 0.9), torch.full((1, 8, 8), 0.1)])
    found = inferred(gan, images, progress=False)
    kind, place = found["kind"], found["place"]
    assert isinstance(kind, Categories)
    assert isinstance(place, Numbers)
    # Of 200 draws a share of 0.8 has a standard error of 0.03, a mean of 0.64² of 0.05.
    torch.testing.assert_close(kind.probabilities, torch.stack(CHANCES), atol=0.12, rtol=0)
    torch.testing.assert_close(place.mean, torch.tensor([0.9, 0.2]), atol=0.2, rtol=0)
    expected = (torch.tensor([0.9 * 0.1, 0.8 * 0.2]) + 0.25).sqrt()
    torch.testing.assert_close(place.stddev, expected, atol=0.12, rtol=0)


class Flat(nn.Module):
    """A generator of even images."""

    def __init__(self, inputs):
        super().__init__()
        self.linear = nn.Linear(inputs, 1)

    def forward(self, inputs):
        return self.linear(inputs).sigmoid()[:, :, None, None].expand(-1, 1, 8, 8)


def test_the_deviation_of_an_angle_is_the_circular_one(images):
    """√(−2 ln R), where a von Mises angle has R = I₁(κ) / I₀(κ)."""

    class Turned(nn.Module):
        def forward(self, features):
            return dist.VonMises(features.new_full((len(features),), 3.0), 2.0)

    gan = InfoGAN(
        {"turn": dist.VonMises(0.0, 1.0)},
        (1, 8, 8),
        posterior={"turn": lambda prior, features: Turned()},
    ).eval()
    found = inferred(gan, images, progress=False)["turn"]
    length = scipy.special.iv(1, 2.0) / scipy.special.iv(0, 2.0)
    torch.testing.assert_close(found.mean, torch.full((40,), 3.0))
    expected = torch.full((40,), math.sqrt(-2 * math.log(length)))
    torch.testing.assert_close(found.stddev, expected)


def test_a_joint_posterior_is_told_code_by_code(images):
    codes = {name: dist.Normal(0.0, 1.0) for name in "ab"}
    gan = InfoGAN(codes, (1, 8, 8), posterior={("a", "b"): families.MultivariateNormal}).eval()
    discovery = quiet(gan, images)
    posterior = gan.infer(images)[("a", "b")]
    torch.testing.assert_close(discovery.inferred["b"].mean, posterior.mean[:, 1])
    torch.testing.assert_close(discovery.inferred["b"].stddev, posterior.variance[:, 1].sqrt())
    assert "share a posterior" in page(gan, discovery, "t")
    # Of neither by itself anything is known.
    both = discovery.information["a", "b"].silent
    assert discovery.is_silent("a") == discovery.is_silent("b") == both


def saved(folder, gan, step=1):
    """A run folder with one checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    run = Run(folder)
    run.save(step, gan.contents())
    return run


@pytest.fixture
def run(tmp_path):
    """A run folder of an untrained InfoGAN that an experiment declared."""
    file = tmp_path / "own.py"
    file.write_text(EXPERIMENT)
    experiment, name = load_file(file)
    run = saved(tmp_path / "run", InfoGAN.from_experiment(experiment), step=3)
    run.write_record({"declaration": {}, "settings": {"experiment": name}}, file)
    return run.folder


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    for index, name in enumerate(("<script>.png", "deep/b.png", "c&.png")):
        Image.new("RGB", (20, 10), (80 * index, 0, 0)).save(folder / name)
    (folder / "<b>broken.png").write_text("no picture")
    return folder


def test_the_command_on_a_folder(run, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    small = ["--draws", 50, "--device", "cpu"]
    assert call("discover", run, "--data", pictures, "--out", out, *small) == 0
    assert {path.name for path in out.iterdir()} == {"discovery.html", "codes.csv"}
    assert "broken.png" in capsys.readouterr().err
    assert {row["name"] for row in rows_of(out / "codes.csv")} == {
        "<script>.png",
        "deep/b.png",
        "c&.png",
    }
    text = (out / "discovery.html").read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert 'alt="&lt;script&gt;.png"' in text
    assert 'alt="c&amp;.png"' in text
    assert "1 file cannot be read" in text
    assert "&lt;b&gt;broken.png" in text
    assert "agree on much by chance" in text


def test_the_command_on_held_out_images(run, tmp_path):
    table = tmp_path / "elsewhere" / "own.csv"
    assert call("discover", run, "--codes", table, "--draws", 50, "--device", "cpu") == 0
    assert len(rows_of(table)) == 40
    text = (run / "discovery.html").read_text()
    assert "<dt>experiment</dt><dd>small</dd>" in text
    assert "<dt>steps</dt><dd>3</dd>" in text
    assert "against the labels" in text
    assert not (run / "codes.csv").exists()


def test_bad_input_of_the_command(run, pictures, tmp_path, capsys):
    bare = saved(tmp_path / "bare", InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (1, 8, 8)))
    wide = saved(tmp_path / "wide", InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (2, 8, 16)))
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.touch()
    for arguments, says in (
        ([bare.folder], "no experiment declared"),
        ([wide.folder, "--data", pictures], "square ones"),
        ([run, "--data", empty], "no pictures"),
        ([run, "--data", tmp_path / "nowhere"], "nothing there"),
        ([run, "--codes", tmp_path / "codes.xlsx"], ".csv or .parquet"),
        ([run, "--draws", 1], "2 or more"),
        ([run, "--seed", -1], "--seed"),
        ([run, "--draws", 50, "--out", file], "expected a folder"),
        ([tmp_path / "nowhere"], "does not exist"),
    ):
        assert call("discover", *arguments, "--device", "cpu") == 1, says
        error = capsys.readouterr().err
        assert "error: " in error
        assert says in error.split("error: ")[-1]
        assert not (run / "discovery.html").exists()
    # Of a folder whose files are all broken, the reason is told.
    for path in pictures.rglob("*.png"):
        path.write_text("no picture")
    assert call("discover", run, "--data", pictures, "--device", "cpu") == 1
    assert "no file that can be read" in capsys.readouterr().err
