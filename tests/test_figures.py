import math

import matplotlib.image
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from torch import nn

from pyro_infogan import InfoGAN, evaluate, figures
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.evaluation import cluster
from pyro_infogan.traversal import values_of

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
