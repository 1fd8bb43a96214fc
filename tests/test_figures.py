import math

import matplotlib.image
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from torch import nn

from pyro_infogan import InfoGAN, evaluate, families, figures
from pyro_infogan.animation import _there_and_back
from pyro_infogan.codes import least_and_greatest, placed
from pyro_infogan.controls import Panel
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.evaluation import Calibration, Following, cluster
from pyro_infogan.evaluation.sweeps import _sweeps
from pyro_infogan.traversal import traversed, values_of

LINES = [{"step": 10 * i, "info/digit": i / 10, "info/slant": 0.1} for i in range(1, 5)]


def sheet_of(figure):
    """The array that a figure of images shows."""
    (image,) = figure.axes[0].images
    return np.asarray(image.get_array())


def test_bound_draws_what_was_logged():
    figure = figures.bound(LINES, {"digit": 1.0, "slant": 0.7}, baseline=LINES[:2])
    curves = {line.get_label(): line for line in figure.axes[0].lines}
    assert curves["$L_I$(digit)"].get_ydata().tolist() == [0.1, 0.2, 0.3, 0.4]
    assert curves["$L_I$(digit), plain GAN"].get_xdata().tolist() == [10, 20]
    assert set(curves["$H$(digit)"].get_ydata()) == {1.0}
    learned = [line | {"entropy/a": 0.5, "entropy/b": 0.1, "info/a,b": 0.2} for line in LINES]
    figure = figures.bound(learned, {("a", "b"): 1.0})
    curves = {line.get_label(): line for line in figure.axes[0].lines}
    assert curves["$H$(a,b)"].get_ydata() == pytest.approx([0.6] * 4)
    with pytest.raises(DataError, match="Train first"):
        figures.bound([], {"digit": 1.0})
    with pytest.raises(DataError, match="colour"):
        figures.bound(LINES, {"digit": 1.0, "colour": 1.0})


def test_more_codes_than_the_cycle_has_colours_have_colours_of_their_own():
    lines = [{"step": s, **{f"info/c{i}": 0.1 * i for i in range(12)}} for s in (1, 2)]
    figure = figures.bound(lines, {f"c{i}": 1.0 for i in range(12)})
    colours = {line.get_label(): str(line.get_color()) for line in figure.axes[0].lines}
    assert len({colours[f"$L_I$(c{i})"] for i in range(12)}) == 12


def test_ticks_tell_values_apart():
    def ticks(low, high):
        codes = {"far": dist.Uniform(low, high)}
        return values_of(InfoGAN(codes, (1, 8, 8), noise=2), "far", span=(low, high), count=9)[1]

    assert ticks(1000.0, 1001.0)[:3] == ["1000", "1000.125", "1000.25"]
    assert ticks(99.8, 100.2)[:3] == ["99.8", "99.85", "99.9"]
    assert ticks(0.0, 36_000.0)[1] == "4500"
    assert ticks(-1.0, 1.0) == ["-1", "-0.75", "-0.5", "-0.25", "0", "0.25", "0.5", "0.75", "1"]


def test_rows_of_a_traversal_have_codes_that_go_together():
    """What depends on a category is drawn given it."""

    def codes():
        d = pyro.sample("d", dist.Bernoulli(0.5))
        pyro.sample("s", dist.Normal(6 * d - 3, 0.5))
        pyro.sample("e", dist.Uniform(-1.0, 1.0))

    gan, seen = InfoGAN(codes, (1, 8, 8), noise=2), {}
    gan.generate = lambda n, codes, noise: seen.update(codes)
    traversed(gan, "e", torch.tensor([0.0]), rows=20)
    assert seen["d"].tolist() == [0.0, 1.0] * 10
    # Over six standard deviations away, were it that of the other category.
    assert ((seen["s"] - (6 * seen["d"] - 3)).abs() < 3).all()


@pytest.mark.parametrize("frames", [3, 5, 8])
def test_an_animation_shows_both_ends(frames):
    values, order = _there_and_back(torch.tensor([-1.0, 3.0]), frames)
    shown = values[order]
    assert len(order) == frames
    assert (shown.min().item(), shown.max().item()) == (-1.0, 3.0)
    # It loops: from either side of the start it is as far.
    torch.testing.assert_close(shown[1], shown[-1])


def test_columns_in_the_order_of_labels_say_so(gan):
    matched = cluster(torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1]), 3)
    figure = figures.traverse(gan, "digit", rows=1, clusters={"digit": matched})
    assert figure.axes[0].get_xlabel() == "label matched to digit"
    assert figures.traverse(gan, "digit", rows=1).axes[0].get_xlabel() == "digit"


def test_a_single_line_of_metrics_is_seen():
    curves = figures.bound(LINES[:1], {"digit": 1.0}, LINES[:1], "other").axes[0].lines
    assert [line.get_marker() for line in curves] == ["o", "o", "None"]
    assert [line.get_label() for line in curves][1] == "$L_I$(digit), other"
    assert {line.get_marker() for line in figures.bound(LINES, {"digit": 1.0}).axes[0].lines} == {
        "None"
    }


def test_the_game_draws_both_players():
    lines = [{"step": s, "loss_d": 1.3, "loss_g": s, "d_real": 0.6, "d_fake": 0.4} for s in (1, 2)]
    losses, probabilities = figures.game(lines).axes
    assert [line.get_ydata().tolist() for line in losses.lines] == [[1.3, 1.3], [1, 2]]
    assert [line.get_ydata().tolist() for line in probabilities.lines] == [[0.6, 0.6], [0.4, 0.4]]
    with pytest.raises(DataError, match="Train first"):
        figures.game([])


def test_sheet_puts_images_in_their_place():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, -1, 4, 4) / 10
    sheet = figures.sheet(images, 3)
    assert sheet.shape == (12, 18)
    assert sheet[7, 13] == pytest.approx(0.5)
    assert figures.sheet(torch.rand(4, 3, 5, 5), 2).shape == (14, 14, 3)
    assert figures.sheet(torch.zeros(3, 1, 5, 5), 2)[7:, 7:].min() == 1.0


def test_traversals_hold_all_but_one(gan):
    figure = figures.traverse(gan, "slant", rows=3, columns=5, span=(-1.0, 1.0))
    assert sheet_of(figure).shape == (30, 50)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["-1", "-0.5", "0", "0.5", "1"]
    # One column is what generate gives for those codes.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise, codes = gan.draw(3)
    codes["digit"] = torch.arange(3)
    codes["slant"] = torch.full((3,), 0.5)
    column = gan.generate(3, codes, noise)
    shown = sheet_of(figure)[:, 30:40]
    np.testing.assert_allclose(shown, figures.sheet(column, 1), atol=1e-6)


def test_default_span_is_twice_the_priors_range(gan):
    labels = figures.traverse(gan, "slant", rows=1).axes[0].get_xticklabels()
    assert (labels[0].get_text(), labels[-1].get_text()) == ("-2", "2")


def test_default_span_of_a_code_on_which_others_depend_is_the_priors_range():
    """In figures, animations and controls alike: beyond it the others have no distribution."""

    def spreads():
        spread = pyro.sample("spread", dist.Uniform(0.25, 0.75))
        pyro.sample("style", dist.Normal(0.0, spread))

    gan = InfoGAN(spreads, (1, 8, 8), noise=2).eval()
    labels = figures.traverse(gan, "spread", rows=1).axes[0].get_xticklabels()
    assert (labels[0].get_text(), labels[-1].get_text()) == ("0.25", "0.75")
    assert len(figures.animate(gan, "spread", rows=1, columns=1, frames=4).frames) == 4
    slider = Panel(gan.prior).controls[0]
    assert (slider.low, slider.high) == slider.inside == (0.25, 0.75)


class Plain(dist.Normal):
    """A number whose event shape is a plain tuple, as some of Pyro's have."""

    event_shape = ()


@pytest.mark.parametrize(
    ("prior", "count"),
    [
        (Plain(0.0, 1.0), 1),
        (
            dist.MixtureOfDiagNormalsSharedCovariance(
                torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0]]), torch.ones(3), torch.zeros(2)
            ),
            3,
        ),
    ],
    ids=["number", "vector"],
)
def test_an_event_shape_may_be_a_plain_tuple(prior, count):
    assert type(prior.event_shape) is tuple
    gan = InfoGAN({"code": prior}, (1, 8, 8), noise=2).eval()
    assert len(figures.traversals(gan)) == len(Panel(gan.prior).controls) == count
    for name, element, _ in figures.traversals(gan):
        figures.traverse(gan, name, element=element, rows=1, columns=2)
    assert gan.prior.joint(("code", "code")).event_shape == (2 * count,)
    assert len(_sweeps(gan, columns=2)) == count
    flow = InfoGAN({"code": prior}, (1, 8, 8), noise=2, posterior={"code": families.Zuko})
    assert flow.infer(gan.generate(2))["code"].event_shape == prior.event_shape


def test_categories_stand_in_the_order_of_their_labels(gan):
    clusters = {"digit": cluster(torch.tensor([2, 0, 1]), torch.tensor([0, 1, 2]), 3)}
    figure = figures.traverse(gan, "digit", rows=2, clusters=clusters)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "1", "2"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise, codes = gan.draw(2)
    codes["digit"] = torch.tensor([2, 2])
    first = figures.sheet(gan.generate(2, codes, noise), 1)
    np.testing.assert_allclose(sheet_of(figure)[:, :10], first, atol=1e-6)


class Unread(nn.Module):
    """A family for counts: the prior."""

    def __init__(self, prior, features):
        super().__init__()
        self.prior = prior

    def forward(self, features):
        return self.prior.expand(features.shape[:1])


def test_every_declaration_has_its_figures(tmp_path):
    codes = {
        "hot": dist.OneHotCategorical(torch.ones(3)),
        "flag": dist.Bernoulli(0.5),
        "kinds": dist.Categorical(torch.ones(3)).expand([2]).to_event(1),
        "matrix": dist.Normal(torch.zeros(2, 2), 1.0).to_event(2),
        "far": dist.Normal(50.0, 2.0),
        "hots": dist.OneHotCategorical(torch.ones(2)).expand([2]).to_event(1),
        "angle": dist.VonMises(0.0, 1.0),
        "number": dist.Poisson(3.0),
        "numbers": dist.Geometric(torch.tensor([0.5, 0.9])).to_event(1),
    }
    own = dict.fromkeys(("number", "numbers"), Unread)
    gan = InfoGAN(codes, (3, 8, 8), noise=2, posterior=own)
    listed = figures.traversals(gan)
    assert [label for _, _, label in listed] == [
        "hot",
        "flag",
        "kinds-0",
        "kinds-1",
        "matrix-0",
        "matrix-1",
        "matrix-2",
        "matrix-3",
        "far",
        "angle",
        "number",
        "numbers-0",
        "numbers-1",
    ]
    for name, element, _ in listed:
        figures.traverse(gan, name, element=element, rows=2, columns=3)
    figures.write(figures.samples(gan, rows=2, columns=2), tmp_path / "samples.png")
    assert matplotlib.image.imread(tmp_path / "samples.png").shape[2] == 4
    with pytest.raises(DataError, match="vector of OneHot"):
        figures.traverse(gan, "hots")
    around = figures.traverse(gan, "angle", rows=1, columns=3).axes[0].get_xticklabels()
    assert [label.get_text() for label in around] == ["-3.14", "0", "3.14"]
    # Mean and twice the deviation either way, and nothing below 0.
    values, ticks = values_of(gan, "number")
    assert values.tolist() == list(range(7))
    assert ticks == list("0123456")
    assert values_of(gan, "number", span=(0, 100), count=3)[0].tolist() == [0.0, 50.0, 100.0]
    with pytest.raises(DataError, match="0 to 3"):
        figures.traverse(gan, "matrix", element=4)
    with pytest.raises(DeclarationError, match="'matix'"):
        figures.traverse(gan, "matix")


def mixture(components):
    """Two components, either as likely, of each element."""
    return dist.MixtureSameFamily(dist.Categorical(torch.ones(components.batch_shape)), components)


def test_mixtures_of_counts_are_traversed_within_their_support():
    tosses = dist.Binomial(torch.tensor([[4.0], [9.0]]), torch.tensor([0.2, 0.9]))
    codes = {
        "events": mixture(dist.Poisson(torch.tensor([1.0, 5.0]))),
        "tosses": mixture(tosses).to_event(1),
        "kinds": mixture(dist.Categorical(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))),
        "flags": mixture(dist.Bernoulli(torch.tensor([0.2, 0.9]))),
    }
    gan = InfoGAN(codes, (1, 8, 8), noise=2, posterior=dict.fromkeys(codes, Unread))
    # Mean 3 and variance (1 + 5) / 2 + 4 = 7: what lies within two deviations, and none below 0.
    assert values_of(gan, "events", count=100)[0].tolist() == list(range(9))
    assert values_of(gan, "tosses", element=0, count=100)[0].tolist() == list(range(5))
    assert values_of(gan, "tosses", element=1, count=100)[0].tolist() == list(range(10))
    assert values_of(gan, "kinds", span=(-5, 5), count=100)[0].tolist() == [0, 1, 2]
    assert values_of(gan, "flags")[0].tolist() == [0, 1]
    for name, element, _ in figures.traversals(gan):
        figures.traverse(gan, name, element=element, rows=1)
        figures.animate(gan, name, element=element, rows=1, columns=1, frames=2)


def test_ends_of_supports():
    below, above = -math.inf, math.inf
    tosses = dist.Binomial(torch.tensor([[4.0], [9.0]]), torch.tensor([0.2, 0.9]))
    pairs = dist.Binomial(torch.tensor([4.0, 9.0]), torch.full((3, 2), 0.5)).to_event(1)
    within = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), pairs)
    twice = mixture(mixture(dist.Binomial(4, torch.full((2, 2), 0.5))))
    for prior, low, high in (
        (dist.Normal(0.0, 1.0), below, above),
        (dist.Beta(1.0, 1.0), 0, 1),
        (mixture(dist.Poisson(torch.ones(2))), 0, above),
        (mixture(tosses).to_event(1), [0, 0], [4, 9]),
        (within, [0, 0], [4, 9]),
        (twice, 0, 4),
        (mixture(dist.Bernoulli(torch.ones(2) / 2)), 0, 1),
    ):
        assert [end.tolist() for end in least_and_greatest(prior)] == [low, high]


def held_codes(gan, monkeypatch):
    """A list that fills with the codes of every generation from here on."""
    seen, generate = [], gan.generate

    def spied(n, codes, noise):
        seen.append(codes)
        return generate(n, codes, noise)

    monkeypatch.setattr(gan, "generate", spied)
    return seen


def test_counts_keep_their_order_whatever_labels_they_match(monkeypatch):
    codes = {
        "tosses": dist.Binomial(4, 0.5),
        "flag": dist.Bernoulli(0.5),
        "kind": dist.Categorical(torch.ones(3)),
        "hot": dist.OneHotCategorical(torch.ones(3)),
    }
    gan = InfoGAN(codes, (1, 8, 8), noise=2)
    labels = torch.arange(2).repeat(20)
    turned = (labels + 1) % 2
    # Either value of two is matched with the label that it is not, the rest with none.
    clusters = {
        name: cluster(turned, labels, count)
        for name, count in {"tosses": 5, "flag": 2, "kind": 3, "hot": 3}.items()
    }
    for name, ticks, values in (
        ("tosses", list("01234"), [0, 1, 2, 3, 4]),
        ("flag", list("01"), [0, 1]),
        ("kind", list("01–"), [1, 0, 2]),
        ("hot", list("01–"), [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    ):
        found, told = values_of(gan, name, clusters=clusters)
        assert (found.tolist(), list(told)) == (values, ticks)
    # The rows of other codes' traversals step through them in the same order.
    seen = held_codes(gan, monkeypatch)
    traversed(gan, "kind", torch.tensor([0]), rows=5, clusters=clusters)
    assert seen[0]["tosses"].tolist() == [0, 1, 2, 3, 4]
    assert seen[0]["hot"].argmax(1).tolist() == [1, 0, 2, 1, 0]


def shares():
    codes = {
        "mix": dist.Dirichlet(torch.tensor([1.0, 2.0, 3.0])),
        "mixes": dist.Dirichlet(torch.ones(2, 3)).to_event(1),
        "soft": dist.RelaxedOneHotCategorical(torch.tensor(1.0), torch.ones(3)),
    }
    return InfoGAN(codes, (1, 8, 8), noise=2, posterior={"soft": Unread})


def assert_on_simplex(values):
    assert values.min() >= 0
    torch.testing.assert_close(values.sum(-1), torch.ones(values.shape[:-1]))


def test_traversals_of_shares_stay_on_the_simplex(monkeypatch):
    gan = shares()
    panel = Panel(gan.prior)
    seen = held_codes(gan, monkeypatch)
    listed = figures.traversals(gan)
    assert len(listed) == len(panel.controls)
    for place, (name, element, _) in enumerate(listed):
        values, ticks = values_of(gan, name, element=element, count=5)
        assert values.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        assert list(ticks) == ["0", "0.25", "0.5", "0.75", "1"]
        traversed(gan, name, values, element=element, rows=3)
        swept = seen.pop()
        assert_on_simplex(swept[name])
        assert swept[name].flatten(1)[:, element].tolist() == values.tolist() * 3
        # What gives way does so as in the explorer, from the values that the row was drawn with.
        with torch.random.fork_rng():
            torch.manual_seed(0)
            _, drawn = gan.draw(3)
        for row, index in ((0, 1), (2, 3)):
            before = panel.positions({code: value[row] for code, value in drawn.items()})
            expected = panel.codes([panel.moved(before, place, values[index].item())])
            torch.testing.assert_close(swept[name][5 * row + index], expected[name][0])


def test_a_span_of_a_share_ends_at_0_and_1(monkeypatch):
    gan = shares()
    assert values_of(gan, "mix", span=(0.2, 0.4), count=2)[0].tolist() == pytest.approx([0.2, 0.4])
    assert values_of(gan, "mix", span=(-2.0, 2.0), count=2)[0].tolist() == [0.0, 1.0]
    seen = held_codes(gan, monkeypatch)
    figures.animate(gan, "mix", element=1, rows=1, columns=2, frames=8)
    figures.traverse(gan, "mixes", element=4, rows=2)
    for name, element, codes in zip(("mix", "mixes"), (1, 4), seen, strict=True):
        assert_on_simplex(codes[name])
        numbers = codes[name].flatten(1)[:, element]
        assert (numbers.min(), numbers.max()) == (0.0, 1.0)
    found = Following("mix", 2, "Spearman", 0.9, {"mix[2]": 0.9})
    ticks = figures.variation(gan, "width", found, rows=1).axes[0].get_xticklabels()
    assert (ticks[0].get_text(), ticks[-1].get_text()) == ("0", "1")


def test_shares_give_way_from_a_corner():
    """Where the others are all 0 they get equal parts; the codes given are left as they were."""
    mix = dist.Dirichlet(torch.ones(3))
    corner = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, -1)
    moved = placed(mix, corner, 2, torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(moved, torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]))
    assert corner[0].tolist() == [0.0, 0.0, 1.0]


def test_only_shares_give_way(gan):
    sites, style = gan.prior.sites, gan.prior.draw(2)["style"]
    moved = placed(sites["style"], style, 1, torch.tensor([3.0, 4.0]))
    assert moved[:, 1].tolist() == [3.0, 4.0]
    assert torch.equal(moved[:, 0], style[:, 0])
    assert placed(sites["slant"], torch.zeros(2), 0, torch.ones(2)).tolist() == [1.0, 1.0]
    digits = placed(sites["digit"], torch.tensor([0, 2]), 0, torch.tensor([1, 1]))
    assert digits.tolist() == [1, 1]


@pytest.mark.parametrize(("count", "bands"), [(1, [1]), (6, [6]), (7, [4, 3]), (17, [6, 6, 5])])
def test_many_codes_are_calibrated_in_bands(count, bands):
    found = Calibration("rank", [2, 3, 4, 1], [0.5], [0.7], 0.2, 0.1, 0.5, 0.25, 0.3)
    names = [f"style[{index}]" for index in range(count)]
    figure = figures.calibration(dict.fromkeys(names, found))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width <= 12
    assert height == 4 * len(bands)
    tops = [axes for axes in figure.axes if axes.get_title()]
    bottoms = [axes for axes in figure.axes if not axes.get_title()]
    assert [axes.get_title() for axes in tops] == names
    assert len(bottoms) == count
    for top, bottom in zip(tops, bottoms, strict=True):
        assert top.get_position().x0 == pytest.approx(bottom.get_position().x0)
        assert top.get_position().y0 > bottom.get_position().y1
    heights = [round(axes.get_position().y0, 3) for axes in tops]
    assert [heights.count(each) for each in sorted(set(heights), reverse=True)] == bands
    assert [axes.get_ylabel() for axes in tops].count("images") == len(bands)


def test_confusion_shows_the_counts():
    found = cluster(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 0]), 2)
    texts = [text.get_text() for text in figures.confusion(found, "digit").axes[0].texts]
    assert texts == ["2", "0", "1", "1"]


def test_figures_leave_the_callers_random_state(gan):
    state = torch.get_rng_state()
    figures.samples(gan, rows=2, columns=2)
    figures.traverse(gan, "digit", rows=2)
    evaluate(gan, draws=4)
    assert torch.equal(torch.get_rng_state(), state)


def frames_of(path):
    """Every frame of an animation as an array, and how long each is shown in milliseconds."""
    with Image.open(path) as picture:
        found = []
        for index in range(picture.n_frames):
            picture.seek(index)
            found.append((np.asarray(picture.convert("L")), picture.info["duration"]))
        assert picture.info["loop"] == 0
    return [frame for frame, _ in found], {round(duration) for _, duration in found}


@pytest.mark.parametrize("name", ["slant.gif", "slant.png", "slant.APNG"])
def test_an_animation_goes_there_and_back(name, gan, tmp_path):
    moving = figures.animate(gan, "slant", rows=1, columns=2, frames=8, span=(-1.0, 1.0))
    moving.write(tmp_path / name)
    frames, durations = frames_of(tmp_path / name)
    assert durations == {80}
    assert len(frames) == 8
    for place in range(1, 8):
        np.testing.assert_array_equal(frames[place], frames[8 - place])
    assert not np.array_equal(frames[0], frames[4])
    # The middle is the middle of the span, with the noise of a traversal.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise, codes = gan.draw(2)
    codes |= {"digit": torch.arange(2), "slant": torch.zeros(2)}
    sheet = figures.sheet(gan.generate(2, codes, noise), 2)
    # Enlarged six times, since eight pixels are too few to see.
    assert frames[2].shape == (60, 120)
    np.testing.assert_allclose(frames[2][::6, ::6], sheet * 255, atol=1)


def test_an_angle_turns_once_around_and_categories_follow_each_other():
    codes = {"angle": dist.VonMises(0.0, 1.0), "kind": dist.Categorical(torch.ones(3))}
    gan = InfoGAN(codes, (3, 8, 8), noise=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise, drawn = gan.draw(1)
    held = {"rows": 1, "columns": 1}
    turning = figures.animate(gan, "angle", frames=4, **held)
    angles = torch.tensor([-1.0, -0.5, 0.0, 0.5]) * math.pi
    stepping = figures.animate(gan, "kind", **held)
    assert (len(stepping.frames), stepping.milliseconds) == (3, 600)
    for moving, name, values in (
        (turning, "angle", angles),
        (stepping, "kind", torch.arange(3)),
    ):
        others = {"kind": torch.tensor([0])} if name == "angle" else {}
        for frame, value in zip(moving.frames, values, strict=True):
            image = gan.generate(1, drawn | others | {name: value[None]}, noise)
            assert frame.shape == (60, 60, 3)
            np.testing.assert_allclose(frame[::6, ::6], figures.sheet(image, 1) * 255, atol=1)


def test_bad_animations(gan, tmp_path):
    with pytest.raises(DeclarationError, match="'slnat'"):
        figures.animate(gan, "slnat")
    for arguments in ({"frames": 1}, {"rows": 0}, {"element": 2}):
        with pytest.raises(DataError):
            figures.animate(gan, "style", **arguments)
    moving = figures.animate(gan, "slant", rows=1, columns=1, frames=2)
    with pytest.raises(DataError, match=r"'.webp'.*one of .gif"):
        moving.write(tmp_path / "slant.webp")
    assert list(tmp_path.iterdir()) == []
