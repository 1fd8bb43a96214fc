"""Features of the trunk: what they are, their clusters, and what few labels make of them."""

import builtins
import copy
import json
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from sklearn.svm import LinearSVC
from torch import nn

from pyro_infogan import InfoGAN, evaluate, figures
from pyro_infogan.datasets import ImageSet
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.evaluation import (
    cluster_features,
    features,
    grid_features,
    probe,
    probes,
    responses,
    top_features,
    untrained_trunk,
)
from pyro_infogan.models.networks import Pair, paper_chairs

from .test_cli import call, size, trained  # noqa: F401, the fixture

CODES = {"c": dist.Uniform(-1.0, 1.0)}


def with_trunk(trunk, features):
    """An InfoGAN on 1×8×8 images with this trunk, and a generator that nobody uses."""

    def networks(image_shape, inputs):
        layers = nn.Linear(inputs, 64), nn.Sigmoid(), nn.Unflatten(1, image_shape)
        return Pair(nn.Sequential(*layers), trunk, features, 0)

    return InfoGAN(CODES, (1, 8, 8), networks=networks)


def classes(n, seed=0, apart=1.0):
    """Images of three classes, each with a bright corner of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    images = 0.3 * torch.rand(n, 1, 8, 8, generator=generator)
    for label, (row, column) in enumerate(((0, 0), (0, 4), (4, 0))):
        images[labels == label, :, row : row + 4, column : column + 4] += 0.7 * apart
    return ImageSet(images, labels)


class Corners(nn.Module):
    """A trunk with a convolution that averages each quarter, into four channels of its own."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 8, bias=False)
        weight = torch.zeros(4, 1, 8, 8)
        for index in range(4):
            row, column = 4 * (index // 2), 4 * (index % 2)
            weight[index, 0, row : row + 4, column : column + 4] = 1 / 16
        self.convolution.weight = nn.Parameter(weight)

    def forward(self, images):
        return self.convolution(images).flatten(1)


def test_pooling_is_that_of_the_layers_by_hand():
    torch.manual_seed(1)
    gan = InfoGAN(CODES, (1, 28, 28)).eval()
    # Statistics that show whether batch norm is seen in evaluation mode.
    gan.trunk[3].running_mean.normal_()
    gan.trunk[3].running_var.uniform_(0.5, 2.0)
    images = torch.rand(5, 1, 28, 28)
    with torch.no_grad():
        first = F.leaky_relu(gan.trunk[0](images), 0.1)
        norm = gan.trunk[3]
        middle = gan.trunk[2](first)
        middle = (middle - norm.running_mean[:, None, None]) / torch.sqrt(
            norm.running_var[:, None, None] + norm.eps
        ) * norm.weight[:, None, None] + norm.bias[:, None, None]
        second = torch.where(middle > 0, middle, 0.1 * middle)
    gan.train()
    torch.testing.assert_close(top_features(gan, images), second.sum((2, 3)) / 49)
    grids = grid_features(gan, images)
    # 14 rows in four: 0–3, 3–6, 7–10, 10–13; 7 rows: 0–1, 1–3, 3–5, 5–6.
    wide, narrow = [(0, 4), (3, 7), (7, 11), (10, 14)], [(0, 2), (1, 4), (3, 6), (5, 7)]
    expected = [
        torch.stack(
            [maps[:, :, a:b, c:d].amax((2, 3)) for a, b in ends for c, d in ends], 2
        ).flatten(1)
        for maps, ends in ((first, wide), (second, narrow))
    ]
    torch.testing.assert_close(grids, torch.cat(expected, 1))


def test_padding_is_no_activation_and_every_convolution_has_one():
    pair = paper_chairs((1, 64, 64), 10)
    with torch.no_grad():
        found, output = features.activations(
            pair.trunk.eval(), torch.rand(2, 1, 64, 64), lambda maps: maps
        )
    assert [tuple(maps.shape[1:]) for maps in found] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (256, 8, 8),
        (256, 8, 8),
    ]
    torch.testing.assert_close(output, pair.trunk[-3:](found[-1].permute(0, 2, 3, 1).flatten(1)))


def test_a_trunk_without_convolutions_gives_its_output():
    gan = with_trunk(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(64, 7)), 7)
    images = classes(6).images
    torch.testing.assert_close(top_features(gan, images), gan.trunk(images).detach())
    with pytest.raises(DataError, match="no convolution"):
        grid_features(gan, images)
    assert figures.first_convolution(gan) is None
    with pytest.raises(DataError, match="no convolution"):
        figures.filters(gan)


def test_everything_is_left_as_it_was(gan, images):
    gan.train()
    gan.trunk[1].eval()
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    modes = [part.training for part in gan.modules()]
    broken = with_trunk(Corners(), 4)
    broken.trunk.forward = lambda images: 1 / 0
    state = torch.get_rng_state()
    top_features(gan, images)
    grid_features(gan, images)
    untrained_trunk(gan)
    labelled = ImageSet(images, torch.arange(40) % 2)
    probe(gan, labelled, labelled, draws=1)
    with pytest.raises(ZeroDivisionError):
        top_features(broken, images)
    assert not any(part._forward_hooks for each in (gan, broken) for part in each.modules())
    assert [part.training for part in gan.modules()] == modes
    assert all(value.equal(gan.state_dict()[name]) for name, value in before.items())
    assert all(weight.requires_grad and weight.grad is None for weight in gan.parameters())
    assert torch.is_grad_enabled()
    assert torch.get_rng_state().equal(state)


def test_batches_do_not_show(gan, images, monkeypatch):
    whole = grid_features(gan, images)
    monkeypatch.setattr(features, "BATCH", 7)
    torch.testing.assert_close(grid_features(gan, images), whole)


def test_broken_weights_are_told(gan, images):
    gan.trunk[0].weight.data[0, 0, 0, 0] = math.nan
    with pytest.raises(DataError, match="NaN"):
        top_features(gan, images)


# Clusters


def test_separable_features_are_the_classes():
    gan = with_trunk(Corners(), 4)
    test = classes(60, seed=1)
    found = cluster_features(gan, classes(150).images, test, k=3)
    assert (found.trunk.accuracy, found.trunk.nmi, found.trunk.ari) == pytest.approx((1, 1, 1))
    assert (found.width, found.fitted, found.images) == (4, 150, 60)
    # A trunk that sees nothing of the classes, where the pixels do.
    blind = Corners()
    blind.convolution.weight.data[:3] = 0
    blind.convolution.weight.data[3, 0, 4:, 4:] = 1 / 16
    other = cluster_features(with_trunk(blind, 4), classes(150), test, k=3)
    assert other.pixels.accuracy == 1.0
    # Labels that have nothing to do with three clusters have an ARI of 0 within 4 / √n.
    assert abs(other.trunk.ari) < 4 / math.sqrt(60)


def test_the_nearest_centre_takes_a_test_image():
    gan = with_trunk(Corners(), 4)
    train, test = classes(30), classes(9, seed=2)
    # Without the seed's classes in the test set, centres come from training alone.
    only = test.subset(test.labels == 1)
    found = cluster_features(gan, train, only, k=3)
    assert sorted(map(sum, found.trunk.confusion)) == [0, 0, 3]


def test_clusters_follow_from_the_seed_and_skip_what_has_no_label(monkeypatch):
    gan = with_trunk(Corners(), 4)
    train, test = classes(90, apart=0.02), classes(60, seed=1, apart=0.02)
    first, again = (cluster_features(gan, train, test, 4, seed=2**40) for _ in range(2))
    assert first == again
    some = torch.where(torch.arange(60) < 20, test.labels, -1)
    partly = cluster_features(gan, train, ImageSet(test.images, some), 4)
    assert partly.images == np.sum(partly.trunk.confusion) == 20
    monkeypatch.setattr(features, "NUMBERS", 64 * 50)
    drawn = cluster_features(gan, train, test, 4)
    assert (drawn.fitted, drawn.fitted_pixels) == (90, 50)


def test_floats_are_left_as_they_are():
    torch.manual_seed(4)
    images = torch.rand(200, 1, 8, 8)
    before = images.clone()
    cluster_features(with_trunk(Corners(), 4), images, classes(9), k=3)
    assert torch.equal(images, before)


@pytest.mark.parametrize("k", [0, -1, 2.5, True, 31])
def test_bad_numbers_of_clusters(k):
    with pytest.raises(DataError, match="k: got"):
        cluster_features(with_trunk(Corners(), 4), classes(30), classes(9), k)


@pytest.mark.parametrize("test", [torch.zeros(3, 1, 8, 8), ImageSet(torch.zeros(3, 1, 8, 8)), None])
def test_labels_are_needed(test):
    gan = with_trunk(Corners(), 4)
    with pytest.raises(DataError, match="no labels"):
        cluster_features(gan, classes(30), test, 2)
    for pair in ((classes(30), test), (test, classes(30))):
        with pytest.raises(DataError, match="no labels"):
            probe(gan, *pair)


# Probes


def test_what_is_separable_is_found():
    gan = with_trunk(Corners(), 4)
    found = probe(gan, classes(150), classes(60, seed=1), labels=5, draws=2)
    assert found.trunk.accuracy == found.pixels.accuracy == 1.0
    assert found.trunk.interval == 0.0
    assert (found.labels, found.fitted, found.validated, found.images) == (5, 15, 25, 60)
    assert (found.trunk.width, found.pixels.width) == (64, 64)


def test_permuted_labels_are_found_by_chance():
    gan = with_trunk(Corners(), 4)
    train, test = classes(300), classes(600, seed=1)
    generator = torch.Generator().manual_seed(3)
    mixed = ImageSet(train.images, train.labels[torch.randperm(300, generator=generator)])
    shuffled = ImageSet(test.images, test.labels[torch.randperm(600, generator=generator)])
    found = probe(gan, mixed, shuffled, labels=20, draws=2)
    for each in (found.trunk, found.random, found.pixels):
        for accuracy in each.accuracies:
            assert abs(accuracy - 1 / 3) < 4 * math.sqrt(2 / 9 / 600)


def test_an_untrained_trunk_is_another_of_the_same_networks(gan):
    first, again, other = (untrained_trunk(gan, seed) for seed in (1, 1, 2))
    weights = [trunk.state_dict()["0.weight"] for trunk in (first, again, other, gan.trunk)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])
    assert not weights[0].equal(weights[3])
    # The declared first weights, N(0, 0.02), and not torch's own.
    error = 0.02 / math.sqrt(2 * weights[0].numel())
    assert abs(weights[0].std().item() - 0.02) < 4 * error


def test_splits_hold_what_was_asked_for():
    labels = torch.arange(70) % 3
    for seed in range(5):
        chosen, validation = probes.split(labels, 6, 1_000, seed)
        assert torch.bincount(labels[chosen]).tolist() == [6, 6, 6]
        assert len(validation) == 11
        assert not set(chosen.tolist()) & set(validation.tolist())
        everything, others = probes.split(labels, None, 1_000, seed)
        assert sorted([*everything.tolist(), *others.tolist()]) == list(range(70))
    assert not probes.split(labels, 6, 99, 0)[0].equal(chosen)
    assert len(probes.split(labels, None, 9, 0)[0]) == 9


def test_a_machine_is_liblinears():
    torch.manual_seed(2)
    inputs = torch.randn(80, 6)
    labels = (inputs[:, 0] > 0.5).long() + (inputs[:, 1] + torch.randn(80) > 0).long()
    sides = 2.0 * F.one_hot(labels) - 1
    for penalty in (0.01, 1.0, 100.0):
        weights, offsets = probes.fitted(inputs, sides, penalty, torch.zeros(6, 3), torch.zeros(3))
        exact = LinearSVC(C=penalty, dual=False, tol=1e-8).fit(inputs.numpy(), labels.numpy())
        np.testing.assert_allclose(weights.T, exact.coef_, atol=2e-3 * np.abs(exact.coef_).max())
        np.testing.assert_allclose(offsets, exact.intercept_, atol=5e-3)


def test_the_best_penalty_is_chosen_and_scale_does_not_matter():
    torch.manual_seed(4)
    labels = torch.arange(60) % 2
    inputs = torch.randn(60, 40) + 0.8 * labels[:, None] * torch.eye(40)[0]
    machines = [
        probes.best(scale * inputs[:30] + 3, labels[:30], scale * inputs[30:] + 3, labels[30:])
        for scale in (1.0, 100.0)
    ]
    assert machines[0].penalty == machines[1].penalty
    torch.testing.assert_close(machines[0].weights, machines[1].weights, atol=1e-3, rtol=1e-2)
    unit = (inputs[:30] - inputs[:30].mean(0)) / machines[0].scale
    assert unit.square().sum(1).mean().item() == pytest.approx(1.0)
    rights = {}
    for penalty in probes.PENALTIES:
        exact = LinearSVC(C=penalty, dual=False, tol=1e-8).fit(unit.numpy(), labels[:30].numpy())
        others = (inputs[30:] - inputs[:30].mean(0)) / machines[0].scale
        rights[penalty] = exact.score(others.numpy(), labels[30:].numpy())
    assert len(set(rights.values())) > 1
    assert machines[0].penalty == max(rights, key=rights.__getitem__)


def test_the_interval_is_students(gan, monkeypatch):
    monkeypatch.setattr(probes, "PENALTIES", (1.0,))
    train, test = classes(120, apart=0.05), classes(300, seed=1, apart=0.05)
    found = probe(gan, train, test, labels=4, draws=3, seed=1)
    again = probe(gan, train, test, labels=4, draws=3, seed=1)
    assert found == again
    one, two, three = found.pixels.accuracies
    mean = (one + two + three) / 3
    variance = ((one - mean) ** 2 + (two - mean) ** 2 + (three - mean) ** 2) / 2
    assert found.pixels.accuracy == pytest.approx(mean)
    # The 97.5 % quantile of Student's t with two degrees of freedom is 4.3027.
    assert found.pixels.interval == pytest.approx(4.3027 * math.sqrt(variance / 3), rel=1e-4)
    assert found.pixels.interval > 0
    assert probe(gan, train, test, draws=1).trunk.interval is None


def test_images_without_labels_are_never_fitted_to(gan):
    train = classes(60)
    hidden = ImageSet(
        torch.cat([train.images, torch.rand(30, 1, 8, 8)]),
        torch.cat([train.labels, torch.full((30,), -1)]),
    )
    test = classes(30, seed=1)
    assert probe(gan, hidden, test, draws=1) == probe(gan, train, test, draws=1)


@pytest.mark.parametrize(
    ("train", "labels", "draws", "says"),
    [
        (classes(30), 11, 1, "training images of class 0"),
        (classes(30), 0, 1, "labels: got 0"),
        (classes(30), 2.0, 1, "labels: got 2.0"),
        (classes(30), 2, 0, "draws: got 0"),
        (classes(30).subset(torch.arange(0, 30, 3)), 2, 1, "one class"),
        (ImageSet(torch.zeros(6, 1, 9, 9), torch.arange(6) % 2), 1, 1, r"\(n, 1, 8, 8\)"),
    ],
)
def test_bad_probes(gan, train, labels, draws, says):
    with pytest.raises(DataError, match=says):
        probe(gan, train, classes(30), labels, draws)


def test_more_labels_than_fit_into_memory_are_refused(gan, monkeypatch):
    monkeypatch.setattr(probes, "NUMBERS", 20_000)
    # 64 channels on 4×4 are 1,024 numbers an image.
    with pytest.raises(DataError, match="21 images in all"):
        probe(gan, classes(60), classes(30), labels=7, draws=1)
    assert probe(gan, classes(60), classes(30), draws=1).fitted == 19


# Figures and reports


def test_filters_are_shown_about_grey(gan):
    image = figures.filters(gan).axes[0].get_images()[0].get_array()
    assert image.shape == (8 * 6, 8 * 6)
    weight = gan.trunk[0].weight.detach()[0, 0]
    torch.testing.assert_close(
        torch.as_tensor(np.asarray(image[1:5, 1:5])), 0.5 + 0.5 * weight / weight.abs().max()
    )


def test_guided_gradients_drop_what_is_negative():
    pytest.importorskip("captum")
    torch.manual_seed(5)
    trunk = nn.Sequential(
        nn.Conv2d(1, 3, 3, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    # Units that answer to nothing would tie.
    trunk[2].bias.data.fill_(1.0)
    gan = with_trunk(trunk, 5)
    images = torch.rand(20, 1, 8, 8)
    found = responses(gan, images, units=3, each=2)
    assert all(weight.requires_grad and weight.grad is None for weight in gan.parameters())
    assert isinstance(trunk[1], nn.LeakyReLU)
    first, second = trunk[0], trunk[2]
    with torch.no_grad():
        low = first(images)
        high = F.relu(second(F.leaky_relu(low, 0.2)))
    for unit in range(3):
        strongest = high[:, unit].flatten(1).amax(1).argsort(descending=True)[:2]
        torch.testing.assert_close(found.images[unit], images[strongest])
        for rank, index in enumerate(strongest.tolist()):
            top = torch.zeros(1, 4, 2, 2)
            top[0, unit].view(-1)[high[index, unit].argmax()] = 1.0
            top *= high[index] > 0
            back = F.conv_transpose2d(top, second.weight, stride=2, padding=1, output_padding=1)
            back = (back * torch.where(low[index] > 0, 1.0, 0.2)).clamp(min=0.0)
            pixels = F.conv_transpose2d(back, first.weight, stride=2, padding=1, output_padding=1)
            torch.testing.assert_close(found.gradients[unit, rank], pixels[0].detach())
    assert figures.guided(found).axes[0].get_images()[0].get_array().shape == (30, 40)
    for bad in ({"units": 5}, {"each": 21}, {"units": 0}):
        with pytest.raises(DataError):
            responses(gan, images, **bad)


@pytest.mark.parametrize("rectifier", [nn.LeakyReLU(0.2), nn.ReLU(inplace=True)], ids=repr)
def test_a_rectifier_in_two_places_is_as_two(rectifier):
    pytest.importorskip("captum")
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)]
    images = torch.rand(20, 1, 8, 8)

    def trunk(first, second):
        return nn.Sequential(layers[0], first, layers[1], second, layers[2], nn.Flatten())

    one = responses(with_trunk(trunk(rectifier, rectifier), 16), images, units=3, each=2)
    two = responses(
        with_trunk(trunk(rectifier, copy.deepcopy(rectifier)), 16), images, units=3, each=2
    )
    torch.testing.assert_close(one.gradients, two.gradients)
    torch.testing.assert_close(one.images, two.images)
    assert one.gradients.abs().max() > 0


def test_a_missing_captum_is_told(gan, images, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DeclarationError, match=r"pip install 'pyro-infogan\[attribution\]'"):
        responses(gan, images)


def test_the_command_line(trained, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(probes, "PENALTIES", (1.0,))
    assert call("evaluate", trained, "--draws", 50, "--clusters", 3, "--probe", 4) == 0
    report = json.loads((trained / "report.json").read_text())
    assert len(report["clusters"]["trunk"]["matching"]) == 3
    assert report["probes"]["labels"] == 4
    assert len(report["probes"]["random"]["accuracies"]) == 5
    out = capsys.readouterr().out
    assert "3 clusters of 64 trunk features: accuracy" in out
    assert "linear probe with 4 labels a class, and 6 more to choose C by: trunk" in out
    assert call("evaluate", trained, "--draws", 50, "--probe", "all") == 0
    report = json.loads((trained / "report.json").read_text())
    assert report["clusters"] is None
    assert (report["probes"]["labels"], report["probes"]["fitted"]) == (None, 34)
    for bad, code in (
        (["--clusters", 0], 1),
        (["--clusters", 41], 1),
        (["--draws", 1], 1),
        (["--probe", 14], 1),
        (["--probe", "some"], 2),
    ):
        assert call("evaluate", trained, "--draws", 50, *bad) == code
    assert call("figures", trained, "--units", 2) == 0
    assert size(trained / "filters.png")[0] > 100
    assert size(trained / "units.png")[0] > 100
    assert call("figures", trained, "--units", 1_000) == 1


def test_reports_without_features_are_as_they_were(gan, images):
    report = evaluate(gan, images, draws=50)
    assert report.clusters is None
    assert "clusters" not in str(report)
