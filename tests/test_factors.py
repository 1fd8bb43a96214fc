"""Codes against known factors: which follows which, and what a sweep moves."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from pyro_infogan import InfoGAN, evaluate, figures
from pyro_infogan.datasets import Factor, ImageSet
from pyro_infogan.errors import DataError, DeclarationError, RunError
from pyro_infogan.evaluation import (
    FactorReader,
    agreement,
    best_reading,
    fit_reader,
    follow,
    inferred,
    likeness,
    sweep,
)
from pyro_infogan.evaluation.factors import _circular, _circular_linear
from pyro_infogan.evaluation.sweeps import _moved
from pyro_infogan.models.networks import Pair

CODES = {
    "light": dist.Uniform(-1.0, 1.0),
    "style": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
    "kind": dist.Categorical(torch.ones(3)),
}
WIDTH = 1 + 2 + 3


class Pixels(nn.Module):
    """Images whose first pixels are the encoded codes, squeezed into [0, 1]; noise is not seen."""

    def forward(self, inputs):
        codes = inputs[:, -WIDTH:]
        # The order of the generator's input is that of the declaration, noise first.
        padded = torch.nn.functional.pad((codes + 8) / 16, (0, 64 - WIDTH))
        return padded.view(-1, 1, 8, 8)


class Read(nn.Module):
    """A head that takes its parameters from some of the pixels."""

    def __init__(self, posterior):
        super().__init__()
        self.posterior = posterior

    def forward(self, features):
        return self.posterior(features[:, :WIDTH] * 16 - 8)


def reads(posterior):
    return lambda prior, features: Read(posterior)


def perfect():
    """An InfoGAN whose Q reads each code off the image."""
    return InfoGAN(
        CODES,
        (1, 8, 8),
        noise=3,
        networks=lambda shape, inputs: Pair(Pixels(), nn.Flatten(), 64, hidden=0),
        posterior={
            "light": reads(lambda p: dist.Normal(p[:, 0], 0.1)),
            "style": reads(lambda p: dist.Normal(p[:, 1:3], 0.1).to_event(1)),
            "kind": reads(lambda p: dist.Categorical(logits=9 * p[:, 3:6])),
        },
    ).eval()


def drawn(gan, n=500):
    """Images of known codes, with factors that follow some of them."""
    torch.manual_seed(0)
    noise, codes = gan.draw(n)
    factors = {
        "brightness": Factor(-3 * codes["light"] ** 3),
        "angle": Factor(codes["style"][:, 1].argsort().argsort() / n * 2 + 0.7, period=2.0),
        "type": Factor((codes["kind"] + 1) % 3),
        "chance": Factor(torch.randn(n)),
    }
    return ImageSet(gan.generate(n, codes, noise), factors=factors), codes


def test_q_is_read_number_by_number():
    gan = perfect()
    dataset, codes = drawn(gan)
    found = inferred(gan, dataset.images, progress=False)
    assert list(found) == ["light", "style[0]", "style[1]", "kind"]
    torch.testing.assert_close(found["light"].mean, codes["light"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found["style[1]"].mean, codes["style"][:, 1], atol=1e-5, rtol=0)
    assert found["style[1]"].element == 1
    assert found["kind"].chosen.equal(codes["kind"])


def test_each_factor_finds_its_code():
    gan = perfect()
    dataset, _ = drawn(gan)
    found = follow(gan, dataset)
    best = {name: (one.code, one.element, one.measure) for name, one in found.items()}
    assert best["brightness"] == ("light", 0, "Spearman")
    assert best["angle"] == ("style", 1, "circular")
    assert best["type"] == ("kind", 0, "homogeneity")
    for name in ("brightness", "angle", "type"):
        assert found[name].value == pytest.approx(1.0, abs=1e-6)
    # Of 500 independent pairs |ρ| has a standard error of 1/√499, homogeneity is below that of a
    # table of 10 by 3 with (10 − 1)(3 − 1) / 2n nats by chance.
    assert found["chance"].value < max(4 / math.sqrt(499), 4 * 9 * 2 / 1000)
    assert found["brightness"].every["style[0]"] < 4 / math.sqrt(499)


def test_a_set_without_factors_has_none_to_follow():
    gan = perfect()
    dataset, _ = drawn(gan)
    assert follow(gan, ImageSet(dataset.images)) == {}
    with pytest.raises(DataError, match="2 or more"):
        follow(gan, dataset.subset(slice(0, 1)))


def test_agreement_of_a_constant_is_nothing():
    up = torch.arange(50.0)
    assert agreement(Factor(up), Factor(torch.ones(50))) == ("Spearman", 0.0)
    assert agreement(Factor(up, period=50.0), Factor(torch.ones(50))) == ("circular", 0.0)
    assert agreement(Factor(torch.arange(50) % 2), Factor(torch.ones(50)))[1] == 0.0


def test_kinds_agree_by_the_share_of_the_factors_entropy():
    """Against the definition; ten categories may tell all of two kinds."""
    code = torch.arange(10).repeat(20)
    assert agreement(Factor((code < 5).long()), Factor(code)) == ("homogeneity", 1.0)
    joint = torch.tensor([[30.0, 10.0, 20.0], [5.0, 25.0, 10.0]])
    pairs = [[i, j] for i in range(2) for j in range(3) for _ in range(int(joint[i, j]))]
    kinds, codes = torch.tensor(pairs).unbind(1)
    p = joint / joint.sum()
    kind, code = p.sum(1, keepdim=True), p.sum(0, keepdim=True)
    share = (p * (p / kind / code).log()).sum() / -(kind * kind.log()).sum()
    assert agreement(Factor(kinds), Factor(codes))[1] == pytest.approx(share.item(), abs=1e-6)


def test_kinds_agree_with_an_angle_however_far_it_is_wound():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(5, (500,), generator=generator)
    angles = (kinds + torch.rand(500, generator=generator)) * 2 * math.pi / 5
    wound = angles + 2 * math.pi * torch.randint(-2, 3, (500,), generator=generator)
    once, further = (Factor(each.double(), period=2 * math.pi) for each in (angles, wound))
    for measure in (agreement, likeness):
        name, value = measure(Factor(kinds), once)
        assert measure(Factor(kinds), further) == (name, pytest.approx(value, abs=1e-3))


def test_the_best_of_a_number_and_of_kinds_is_the_one_that_tells_more():
    """Deciles at a correlation of 0.7 tell eight times what a number at 0.26 does."""
    generator = torch.Generator().manual_seed(0)
    truth, one, other = torch.randn(3, 5_000, generator=generator)
    kinds = (0.7 * truth + math.sqrt(1 - 0.7**2) * one).argsort().argsort() // 500
    number = 0.26 * truth + math.sqrt(1 - 0.26**2) * other
    read = {"number": Factor(number), "kinds": Factor(kinds)}
    each = {name: agreement(Factor(truth), one) for name, one in read.items()}
    assert each["number"][1] > each["kinds"][1]
    assert best_reading(Factor(truth), read, each) == "kinds"
    # And a number the one of its own tenths.
    read["whole"] = Factor(truth + 0.1 * other)
    each["whole"] = agreement(Factor(truth), read["whole"])
    assert best_reading(Factor(truth), read, each) == "whole"


def test_a_factor_that_hardly_varies_is_moved_over_its_range_and_a_constant_by_nothing():
    read = torch.tensor([[0.0, 0.5, 1.0]])
    assert _moved(Factor(torch.full((5,), 0.5)), read) == 0.0
    assert _moved(Factor(torch.tensor([0.0] * 99 + [2.0])), read) == 0.5


def test_a_one_hot_code_is_swept_through_its_categories():
    prior = {"hot": dist.OneHotCategorical(torch.ones(3)), "rest": dist.Uniform(-1.0, 1.0)}
    networks = Pair(Pixels(), nn.Flatten(), 64, hidden=0)
    gan = InfoGAN(prior, (1, 8, 8), noise=2, networks=lambda *_: networks)
    reader = FactorReader(1, {"type": Factor(torch.arange(64) % 3)})
    reader.read = lambda images: {"type": images.flatten(1)[:, 2:5].argmax(1)}
    assert sweep(gan, reader, rows=5).moved == {"hot": {"type": 1.0}, "rest": {"type": 0.0}}


def test_factors_are_kept_as_what_is_computed_with():
    assert Factor(torch.tensor([True, False])).values.tolist() == [1, 0]
    assert Factor(torch.arange(3, dtype=torch.int32)).values.dtype == torch.int64
    assert Factor(torch.rand(3).bfloat16()).values.dtype == torch.float32
    assert Factor(torch.rand(3).double()).values.dtype == torch.float64
    with pytest.raises(DataError, match="kind -1"):
        Factor(torch.tensor([0, -1]))
    with pytest.raises(DataError, match="finite number"):
        Factor(torch.ones(3, dtype=torch.complex64))


def test_a_number_of_a_vector_is_named():
    following = follow(perfect(), drawn(perfect())[0])
    assert str(following["angle"]).startswith("style[1], ")
    assert str(following["brightness"]).startswith("light, ")


def test_a_reader_is_measured_on_the_factors_it_reads():
    images = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    one, two = (
        ImageSet(images, factors={name: Factor(torch.rand(64)) for name in names})
        for names in ("ab", "ac")
    )
    with pytest.raises(DataError, match=r"b, c stand in one set only"):
        fit_reader(one, two, steps=1)
    with pytest.raises(RunError, match="device"):
        fit_reader(one, one, steps=1, device="nonsense")


def test_likeness_is_the_same_in_either_order():
    generator = torch.Generator().manual_seed(0)
    angle = 2 * math.pi * torch.rand(500, generator=generator)
    readings = {
        "angle": Factor(angle - math.pi, period=2 * math.pi),
        "turned": Factor((angle + 2.0).remainder(2 * math.pi)),
        "fine": Factor((angle * 10 / (2 * math.pi)).long()),
        "coarse": Factor((angle > math.pi).long()),
        "still": Factor(torch.zeros(500)),
    }
    found = {
        (one, other): likeness(readings[one], readings[other])
        for one in readings
        for other in readings
    }
    for (one, other), got in found.items():
        assert got == found[other, one]
    # A number that goes once round with the angle is one; two kinds are told by ten.
    assert found["angle", "turned"] == ("circular", pytest.approx(1.0, abs=1e-6))
    assert found["fine", "coarse"] == ("AMI", 1.0)
    assert found["still", "angle"] == ("circular", 0.0)
    assert found["still", "fine"] == ("AMI", 0.0)
    for n in (2, 3, 4):
        each = Factor(torch.arange(n))
        assert 0 <= likeness(each, each)[1] <= 1
        assert 0 <= likeness(each, Factor(torch.arange(float(n))))[1] <= 1


def test_likeness_of_few_independent_kinds_is_no_more_than_chance():
    """Mutual information of few draws is above 0 by (K − 1)² / 2n; adjusted, its mean is 0."""
    generator = torch.Generator().manual_seed(3)
    found = torch.tensor(
        [
            likeness(*(Factor(torch.randint(10, (60,), generator=generator)) for _ in range(2)))[1]
            for _ in range(100)
        ]
    )
    # Negative values count as 0, so that the mean is half the mean absolute deviation.
    assert found.mean() < 0.05
    drawn = Factor(torch.randint(10, (60,), generator=generator))
    plain = agreement(Factor(torch.arange(60) % 10), drawn)
    assert plain[1] > 0.15


def test_circular_agreement_does_not_mind_where_the_circle_is_cut():
    angle = torch.rand(400, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    truth = Factor(angle, period=2 * math.pi)
    for shift in (0.0, 1.0, 3.0):
        for way in (1, -1):
            code = (way * angle + shift).remainder(2 * math.pi)
            assert agreement(truth, Factor(code))[1] == pytest.approx(1.0, abs=1e-3)
            # Spearman sees the cut.
        cut = agreement(Factor(angle), Factor((angle + 2.0).remainder(2 * math.pi)))[1]
        assert cut < 0.9
    noise = torch.randn(400, generator=torch.Generator().manual_seed(2))
    # 400 · R̄² is exponential with mean 1, and this is the larger of two; 400 · D / 2 is so, too.
    assert _circular(truth, Factor(noise)) < 10 / 400
    assert _circular_linear(truth, Factor(noise)) < 2 * 10 / 400


def test_a_number_that_says_which_side_agrees_with_the_angle():
    angle = torch.rand(5_000, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    truth = Factor(angle, period=2 * math.pi)
    for shift in (0.0, 1.0, 2.5):
        for number in ((angle - shift).cos(), (angle - shift).cos() ** 3):
            measure, value = agreement(truth, Factor(number))
            assert measure == "circular-linear"
            assert value == pytest.approx(1.0, abs=2e-3)
            # E exp(i(α − 2|α|)) has the length 4 / 3π; R̄ has a standard error under 1 / √n.
            circular = _circular(truth, Factor(number)) ** 0.5
            assert abs(circular - 4 / (3 * math.pi)) < 4 / 5_000**0.5
    # Once round is the circle's own; by the other a sawtooth and a sine have a squared correlation
    # of 6 / π², of at most 96 / π⁴.
    once = agreement(truth, Factor((angle + 2.0).remainder(2 * math.pi)))
    assert once == ("circular", pytest.approx(1.0, abs=1e-3))
    assert _circular_linear(truth, Factor(angle)) == pytest.approx(
        6 / math.pi**2 * math.pi**4 / 96, abs=2e-2
    )
    # And the square of a multiple correlation of ranks, computed apart.
    noisy = (angle - 1.0).cos() + 0.5 * torch.randn(
        5_000, generator=torch.Generator().manual_seed(3)
    )
    turn = 2 * math.pi * angle.argsort().argsort().double() / 5_000
    ranks = noisy.argsort().argsort().double()
    basis = torch.stack([turn.cos(), turn.sin(), torch.ones_like(turn)], 1)
    left = ranks - basis @ torch.linalg.lstsq(basis, ranks.unsqueeze(1)).solution.squeeze(1)
    share = 1 - (left.var() / ranks.var()).item()
    assert agreement(truth, Factor(noisy))[1] == pytest.approx(share * math.pi**4 / 96, abs=1e-6)


def test_an_angle_agrees_with_a_number_wherever_it_is_cut():
    """Of a code that turns, whose origin is its own."""
    number = torch.rand(2_000, generator=torch.Generator().manual_seed(1))
    truth = Factor(number)
    for shift in (0.0, 1.5, 3.0):
        once = Factor(2 * math.pi * number + shift, period=2 * math.pi)
        assert agreement(truth, once) == ("circular", pytest.approx(1.0, abs=1e-3))
        half = Factor(math.pi * number + shift, period=2 * math.pi)
        assert agreement(truth, half) == agreement(truth, once)
        # Which side it is on, up one way round and down the other.
        way = torch.arange(2_000) % 2 * 2 - 1
        sides = Factor(way * math.pi * number + shift, period=2 * math.pi)
        measure, value = agreement(truth, sides)
        assert measure == "circular-linear"
        assert value == pytest.approx(1.0, abs=2e-2)
    # Of two angles, one that says which side of the other is seen has no more than by chance.
    angle = 2 * math.pi * number
    folded = Factor(angle.cos().acos(), period=2 * math.pi)
    assert agreement(Factor(angle, period=2 * math.pi), folded)[0] == "circular"


class ExactReader(FactorReader):
    """Reads the pixels of ``Pixels`` as they were made."""

    def read(self, images):
        pixels = images.flatten(1)[:, :WIDTH] * 16 - 8
        return {
            "brightness": -3 * pixels[:, 0] ** 3,
            "angle": pixels[:, 2].remainder(2.0),
            "type": pixels[:, 3:6].argmax(1),
            "chance": torch.zeros(len(images)),
        }


def test_a_sweep_moves_what_the_code_is_and_nothing_else():
    gan = perfect()
    dataset, _ = drawn(gan)
    reader = ExactReader(1, dataset.factors)
    moved = sweep(gan, reader, rows=20, columns=9).moved
    low, high = torch.quantile(dataset.factors["brightness"].values, torch.tensor([0.05, 0.95]))
    assert moved["light"]["brightness"] == pytest.approx(6 / (high - low).item(), rel=1e-3)
    # A standard normal's code goes from −1 to 1, all of a circle of 2 but one of nine steps.
    assert moved["style[1]"]["angle"] == pytest.approx(7 / 8, abs=1e-3)
    assert moved["kind"]["type"] == 1.0
    still = {(code, factor): v for code, each in moved.items() for factor, v in each.items()}
    for pair in (("light", "brightness"), ("style[1]", "angle"), ("kind", "type")):
        still.pop(pair)
    assert max(still.values()) < 1e-5


def test_a_swept_share_leaves_the_others_what_is_left(monkeypatch):
    gan = InfoGAN({"mix": dist.Dirichlet(torch.ones(3))}, (1, 8, 8), noise=0)
    held = []
    made = gan.generate
    monkeypatch.setattr(gan, "generate", lambda n, codes, noise: made(n, held.append(codes)))
    reader = ExactReader(1, {"brightness": Factor(torch.linspace(0.0, 1.0, 50))})
    monkeypatch.setattr(reader, "read", lambda images: {"brightness": torch.zeros(len(images))})
    sweep(gan, reader, rows=4, columns=5)
    for place, codes in enumerate(held):
        mix = codes["mix"].view(4, 5, 3)
        torch.testing.assert_close(mix.sum(-1), torch.ones(4, 5))
        torch.testing.assert_close(mix[0, :, place], torch.linspace(0.0, 1.0, 5))


def shapes(n, seed):
    """Bars of known brightness, direction and kind of background."""
    generator = torch.Generator().manual_seed(seed)
    bright = torch.rand(n, generator=generator)
    turn = torch.rand(n, generator=generator) * 2 * math.pi
    dark = torch.randint(2, (n,), generator=generator)
    grid = torch.linspace(-1, 1, 16)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    ahead = turn.cos()[:, None, None] * x + turn.sin()[:, None, None] * y
    images = (ahead > 0) * (0.5 + 0.5 * bright[:, None, None]) + 0.3 * dark[:, None, None] * (
        ahead <= 0
    )
    factors = {
        "bright": Factor(bright),
        "turn": Factor(turn, period=2 * math.pi),
        "dark": Factor(dark),
    }
    return ImageSet((images[:, None] * 255).to(torch.uint8), factors=factors)


def test_a_reader_learns_to_read():
    before = torch.get_rng_state()
    reader = fit_reader(shapes(1_000, 0), shapes(300, 1), steps=150)
    assert torch.get_rng_state().equal(before)
    assert {name: measure for name, (measure, _) in reader.agreement.items()} == {
        "bright": "Spearman",
        "turn": "circular",
        "dark": "homogeneity",
    }
    assert min(value for _, value in reader.agreement.values()) > 0.9
    gan = InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (1, 16, 16)).eval()
    held_out = shapes(100, 2)
    report = evaluate(gan, held_out, draws=200, reader=reader)
    assert report.sweeps is not None
    assert set(report.sweeps.moved["c"]) == {"bright", "turn", "dark"}
    assert "sweeping c moves bright" in str(report)
    assert "turn is followed best by c, circular" in str(report)
    assert set(report.data()["sweeps"]["reader"]) == {"bright", "turn", "dark"}


def test_a_readers_weights_are_drawn_before_it_moves(monkeypatch):
    """A GPU that starts then draws by a seed of its own."""
    moved = []

    def to(reader, device):
        moved.append(device)
        assert not any(isinstance(weight, UninitializedParameter) for weight in reader.parameters())
        return reader

    monkeypatch.setattr(FactorReader, "to", to)
    fit_reader(shapes(100, 0), shapes(70, 1), steps=1)
    assert moved == [torch.device("cpu")]


@pytest.mark.parametrize("n", [10, 200])
def test_a_reader_needs_factors_and_images(n):
    plain = ImageSet(torch.zeros(n, 1, 16, 16, dtype=torch.uint8))
    with pytest.raises(DataError, match="with factors"):
        fit_reader(plain, plain)


def test_the_figure_shows_the_code_over_its_range():
    gan = perfect()
    dataset, _ = drawn(gan)
    found = follow(gan, dataset)
    figure = figures.variation(gan, "brightness", found["brightness"], rows=2)
    axes = figure.axes[0]
    assert axes.get_title() == "brightness: Spearman 1.00"
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("-1", "1")
    assert figures.variation(gan, "angle", found["angle"]).axes[0].get_xlabel() == "style[1]"
    kinds = figures.variation(gan, "type", found["type"]).axes[0].get_xticklabels()
    assert [text.get_text() for text in kinds] == ["0", "1", "2"]
    other = InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (1, 8, 8))
    with pytest.raises(DeclarationError, match="light"):
        figures.variation(other, "brightness", found["brightness"])


@pytest.mark.parametrize("values", [[1.0, 2.0], torch.ones(2, 2), torch.tensor([1.0, math.nan])])
def test_a_factor_is_one_finite_number_an_image(values):
    with pytest.raises(DataError, match="one finite number"):
        Factor(values)


def test_what_is_known_of_images_is_one_for_each():
    images = torch.zeros(3, 1, 8, 8)
    assert ImageSet(images).labels.tolist() == [-1, -1, -1]
    with pytest.raises(DataError, match="shade"):
        ImageSet(images, factors={"shade": Factor(torch.ones(2))})
    with pytest.raises(DataError, match="names"):
        ImageSet(images, names=["a.png"])
    whole = ImageSet(
        images,
        torch.tensor([4, -1, 5]),
        {"shade": Factor(torch.arange(3.0), period=3.0)},
        ["a", "b", "c"],
    )
    assert whole.labelled.tolist() == [0, 2]
    for some in (whole.subset(torch.tensor([2, 0])), whole.subset(slice(2, None, None))):
        assert some.names[0] == "c"
        assert some.labels[0] == 5
        assert some.factors["shade"].values[0] == 2.0
        assert some.factors["shade"].period == 3.0
    assert whole.subset(slice(1, 3)).images.data_ptr() == images[1:].data_ptr()
