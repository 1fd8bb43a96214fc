import math

import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN, datasets, evaluate
from pyro_infogan.errors import DataError
from pyro_infogan.evaluation import categories, cluster
from pyro_infogan.traversal import values_of

LABELS = torch.arange(6).repeat(50)


def test_a_relabelling_is_perfect():
    names = torch.tensor([3, 5, 0, 1, 4, 2])
    found = cluster(names[LABELS], LABELS, 6)
    assert found.accuracy == found.ari == 1.0
    assert found.nmi == pytest.approx(1.0)
    assert [found.matching[names[label]] for label in range(6)] == list(range(6))
    assert [names[label].item() for label in range(6)] == found.order


def test_chance_is_worth_nothing():
    n = 60_000
    found = cluster(torch.randint(6, (n,)), torch.randint(6, (n,)), 6)
    # The best of 720 matchings of cells with standard error √(5/36 · n) / n.
    assert abs(found.accuracy - 1 / 6) < 12 * math.sqrt(5 / 36 / n)
    assert abs(found.ari) < 0.001
    assert found.nmi < 0.001


def test_merged_and_split_classes():
    """Two labels in one category, another label in two: the best matching keeps one of each."""
    mine = LABELS.clone()
    mine[LABELS == 1] = 0
    split = (LABELS == 2).nonzero().squeeze(-1)
    mine[split[:20]] = 1
    found = cluster(mine, LABELS, 6)
    assert found.accuracy == pytest.approx((300 - 50 - 20) / 300)
    assert sum(map(sum, found.confusion)) == 300


def test_more_or_fewer_categories_than_labels():
    more = cluster(LABELS, LABELS, 8)
    assert more.accuracy == 1.0
    assert more.matching[6:] == [None, None]
    assert more.order == list(range(8))
    fewer = cluster(LABELS % 2, LABELS, 2)
    assert fewer.accuracy == pytest.approx(2 / 6)


def test_a_category_without_an_image_of_a_label_is_not_matched_to_it():
    found = cluster(torch.tensor([0, 0, 1, 1]), torch.tensor([3, 3, 7, 7]), 5)
    assert found.matching == [3, 7, None, None, None]
    assert found.order == [0, 1, 2, 3, 4]


def test_labels_that_do_not_fit_are_refused():
    for labels in (LABELS[:3], LABELS - 1, LABELS[:0]):
        with pytest.raises(DataError, match="one label for each image"):
            cluster(LABELS, labels, 6)


def test_categories_are_the_most_probable_values():
    probs = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])
    assert categories(dist.Categorical(probs)).tolist() == [1, 0]
    assert categories(dist.OneHotCategorical(probs)).tolist() == [1, 0]
    assert categories(dist.Bernoulli(torch.tensor([0.2, 0.9]))).tolist() == [0, 1]


def test_evaluate_reports_every_code_that_has_categories(gan, images):
    state = torch.get_rng_state()
    report = evaluate(gan, datasets.ImageSet(images, torch.arange(40) % 3), draws=100)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(report.information) == {"digit", "slant", "style"}
    assert set(report.clustering) == {"digit"}
    assert report.images == 40
    assert "accuracy" in str(report)
    assert report.data()["clustering"]["digit"]["confusion"]


def test_evaluate_without_labels(gan, images):
    for nothing in (None, images):
        report = evaluate(gan, nothing, draws=100)
        assert report.clustering == {}
        assert report.images == 0


def test_every_kind_of_category_is_compared(images):
    codes = {
        "kinds": dist.Categorical(torch.ones(3)).expand([2]).to_event(1),
        "hot": dist.OneHotCategorical(torch.ones(4)),
        "flag": dist.Bernoulli(0.5),
    }
    gan = InfoGAN(codes, (1, 8, 8))
    report = evaluate(gan, datasets.ImageSet(images, torch.arange(40) % 4), draws=10)
    assert set(report.clustering) == {"kinds[0]", "kinds[1]", "hot", "flag"}


def test_counts_are_compared_and_keep_their_order(images):
    """How counts fall into labels is worth knowing; their order is their own all the same."""
    gan = InfoGAN({"tosses": dist.Binomial(4, 0.5)}, (1, 8, 8))
    report = evaluate(gan, datasets.ImageSet(images, torch.arange(40) % 2), draws=10)
    assert len(report.clustering["tosses"].confusion) == 5
    values, ticks = values_of(gan, "tosses", clusters=report.clustering)
    assert values.tolist() == [0, 1, 2, 3, 4]
    assert ticks == list("01234")
