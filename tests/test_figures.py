import matplotlib.image
import numpy as np
import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN, evaluate, figures
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.evaluation import cluster

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


def test_every_declaration_has_its_figures(tmp_path):
    codes = {
        "hot": dist.OneHotCategorical(torch.ones(3)),
        "flag": dist.Bernoulli(0.5),
        "kinds": dist.Categorical(torch.ones(3)).expand([2]).to_event(1),
        "matrix": dist.Normal(torch.zeros(2, 2), 1.0).to_event(2),
        "far": dist.Normal(50.0, 2.0),
        "hots": dist.OneHotCategorical(torch.ones(2)).expand([2]).to_event(1),
        "angle": dist.VonMises(0.0, 1.0),
    }
    gan = InfoGAN(codes, (3, 8, 8), noise=2)
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
    ]
    for name, element, _ in listed:
        figures.traverse(gan, name, element=element, rows=2, columns=3)
    figures.write(figures.samples(gan, rows=2, columns=2), tmp_path / "samples.png")
    assert matplotlib.image.imread(tmp_path / "samples.png").shape[2] == 4
    with pytest.raises(DataError, match="vector of OneHot"):
        figures.traverse(gan, "hots")
    around = figures.traverse(gan, "angle", rows=1, columns=3).axes[0].get_xticklabels()
    assert [label.get_text() for label in around] == ["-3.14", "0", "3.14"]
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
