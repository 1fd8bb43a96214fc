"""Calibration of Q, on channels whose posterior is known: x shows the code through known noise."""

import dataclasses
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from torch import nn

from pyro_infogan import InfoGAN, datasets, evaluate, families, figures
from pyro_infogan.errors import DataError
from pyro_infogan.evaluation import Calibration, calibrate
from pyro_infogan.inference.families.bounded import TruncatedNormalDistribution
from pyro_infogan.infogan import BATCH
from pyro_infogan.models import networks as nets

N = 4_000
HIDDEN = 128
SAMPLES = 99


class Draw(nn.Module):
    """A generator whose first pixels are what ``channel`` makes of noise and encoded codes."""

    def __init__(self, channel):
        super().__init__()
        self.channel = channel

    def forward(self, inputs):
        signals = self.channel(inputs)
        images = F.pad((signals / 2).sigmoid(), (0, 64 - signals.shape[1]))
        return images.view(-1, 1, 8, 8)


class Read(nn.Module):
    """A trunk that gives those numbers back."""

    def __init__(self, signals):
        super().__init__()
        self.signals = signals

    def forward(self, images):
        return 2 * images.flatten(1)[:, : self.signals].clamp(1e-7, 1 - 1e-7).logit()


class Own(nn.Module):
    """A head or guide that is a function of the signals."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def forward(self, features):
        return self.read(features)


def known(codes, channel, posterior, *, noise=1, signals=1):
    """An InfoGAN of a known channel, and of posteriors that are functions of its signals."""

    def built(read):
        return lambda prior, features: Own(read)

    gan = InfoGAN(
        codes,
        (1, 8, 8),
        noise=noise,
        posterior=built(posterior)
        if callable(posterior)
        else {name: built(read) for name, read in posterior.items()},
        networks=lambda shape, inputs: nets.Pair(Draw(channel), Read(signals), signals, HIDDEN),
    )
    gan.posterior.hidden = nn.Linear(signals, HIDDEN, bias=False)
    nn.init.eye_(gan.posterior.hidden.weight)
    return gan


def normal(uniform):
    """Standard normal numbers from the noise's U(−1, 1)."""
    return math.sqrt(2) * uniform.clamp(-1 + 1e-6, 1 - 1e-6).erfinv()


def nothing(inputs):
    """The channel of images that do not depend on the code."""
    return 0 * inputs[:, :1]


def gaussian(width=1.0, shift=0.0, sigma=0.5):
    """c ~ N(0, 1), x = c + N(0, σ²): Q is the true posterior but for its width and a shift."""
    gain = 1 / (1 + sigma**2)
    std = sigma * gain**0.5
    return known(
        {"c": dist.Normal(0.0, 1.0)},
        lambda inputs: inputs[:, 1:] + sigma * normal(inputs[:, :1]),
        {"c": lambda x: dist.Normal(gain * x[:, 0] + shift * std, width * std)},
    )


def blind(prior, posterior):
    """Images that say nothing, and one posterior for all of them."""
    return known({"c": prior}, nothing, {"c": lambda x: posterior.expand([len(x)])})


def agrees(found, expected, n=N):
    """Whether coverage is as expected at every level, to within its own standard error."""
    expected = np.asarray(expected)
    error = np.sqrt(expected * (1 - expected) / n) + 1 / n
    return (np.abs(np.array(found.observed) - expected) <= 4.5 * error).all()


def coverage(width, shift=0.0):
    """Of a normal Q that is so many times too wide, at every level of 99 draws."""
    deviation = scipy.stats.norm.ppf((np.arange(4_000) + 0.5) / 4_000)
    below = scipy.stats.norm.cdf((deviation - shift) / width)[:, None]
    a = np.arange(SAMPLES // 2, 0, -1)
    binomial = scipy.stats.binom(SAMPLES, below)
    return (binomial.cdf(SAMPLES - a) - binomial.cdf(a - 1)).mean(0)


# Continuous codes


def test_the_true_posterior_is_calibrated():
    found = calibrate(gaussian(), N)["c"]
    assert found.statistic == "rank"
    assert sum(found.counts) == N
    assert len(found.counts) == SAMPLES + 1
    assert found.p_value > 0.001
    assert agrees(found, found.nominal)
    np.testing.assert_allclose(found.nominal, coverage(1.0), atol=1e-3)
    # The gap is a mean of dependent deviations, whose own mean is ``chance``.
    assert found.gap <= 3 * found.chance
    assert found.outside is found.leak is None


@pytest.mark.parametrize("width", [0.7, 1.4])
def test_a_posterior_too_narrow_or_wide_is_found_out(width):
    found = calibrate(gaussian(width), N)["c"]
    expected = coverage(width)
    assert found.p_value < 1e-6
    assert agrees(found, expected)
    assert not agrees(found, found.nominal)
    assert np.sign(np.mean(found.observed) - np.mean(found.nominal)) == np.sign(width - 1)
    assert found.gap == pytest.approx(np.abs(expected - found.nominal).mean(), abs=0.01)


def test_a_posterior_beside_the_truth_is_found_out():
    found = calibrate(gaussian(shift=0.5), N)["c"]
    assert found.p_value < 1e-6
    # Where Q lies too high, most of its draws lie above the truth.
    ranks = np.average(np.arange(SAMPLES + 1), weights=found.counts)
    error = SAMPLES * math.sqrt(1 / 12 / N)
    expected = SAMPLES * scipy.stats.norm.cdf(-0.5 / math.sqrt(2))
    assert abs(ranks - expected) <= 4.5 * error
    assert agrees(found, coverage(1.0, 0.5))


def test_p_values_are_uniform_under_a_true_posterior():
    gan = gaussian()
    values = [calibrate(gan, 200, 19, seed=seed)["c"].p_value for seed in range(100)]
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.001


def test_the_gap_that_chance_gives():
    gan = gaussian()
    found = [calibrate(gan, 200, seed=seed)["c"] for seed in range(100)]
    gaps = np.array([one.gap for one in found])
    assert abs(gaps.mean() - found[0].chance) <= 4.5 * gaps.std() / math.sqrt(len(gaps))


def test_vectors_are_looked_at_number_by_number():
    """Of four numbers, Q is too narrow about the last."""
    widths = torch.tensor([[1.0, 1.0], [1.0, 0.5]])
    gan = known(
        {"style": dist.Normal(torch.zeros(2, 2), 1.0).to_event(2)},
        lambda inputs: inputs[:, 4:] + normal(inputs[:, :4]),
        {
            "style": lambda x: dist.Normal(
                x[:, :4].view(-1, 2, 2) / 2, widths * math.sqrt(0.5)
            ).to_event(2)
        },
        noise=4,
        signals=4,
    )
    found = calibrate(gan, N)
    assert list(found) == [f"style[{index}]" for index in range(4)]
    assert [one.p_value > 0.001 for one in found.values()] == [True, True, True, False]


# Mass outside the prior's support


LOC, SCALE = 0.5, 0.8
MASS = scipy.stats.norm.cdf(0.5 / SCALE) - scipy.stats.norm.cdf(-1.5 / SCALE)


def test_a_normal_for_an_interval_leaks_what_is_known():
    gan = blind(dist.Uniform(-1.0, 1.0), dist.Normal(LOC, SCALE))
    found = calibrate(gan, 100)["c"]
    assert found.outside == pytest.approx(1 - MASS, rel=1e-6)
    assert found.leak == pytest.approx(-math.log(MASS), rel=1e-6)


def test_the_leak_is_what_renormalising_adds_to_the_bound():
    """x = c + N(0, σ²) of an even prior: Q is N(x, σ²), or the true posterior, which cuts it off.

    The true code is a draw of N(x, σ²) on average over images, so that ranks do not tell them
    apart: only the leak does.
    """
    n, sigma, prior = 20_000, 0.3, dist.Uniform(-1.0, 1.0)
    bounds, found = [], []
    for read in (
        lambda x: dist.Normal(x[:, 0], torch.full((len(x),), sigma)),
        lambda x: TruncatedNormalDistribution(x[:, 0], torch.tensor(sigma), -1.0, 1.0),
    ):
        gan = known(
            {"c": prior}, lambda inputs: inputs[:, 1:] + sigma * normal(inputs[:, :1]), {"c": read}
        )
        torch.manual_seed(1)
        bounds.append(gan.information(n)["c"].bound)
        found.append(calibrate(gan, n)["c"])
    wide, inside = found
    assert inside.outside == inside.leak == 0.0
    assert wide.leak > 0.1
    # Means over different images of terms whose deviation is under 1 nat.
    assert abs(bounds[1] - bounds[0] - wide.leak) <= 4.5 / math.sqrt(n)
    for one in found:
        assert one.p_value > 0.001
        assert agrees(one, one.nominal, n)


def at_the_ends(gan):
    """Calibrations with location and logarithm of the scale as they are, and driven far out."""
    bias = gan.posterior.heads[0].linear.bias.data
    for location, scale in ((0.0, 0.0), (-50.0, -50.0), (50.0, -50.0), (50.0, 50.0)):
        bias[::2], bias[1::2] = location, scale
        yield calibrate(gan, 50)


@pytest.mark.parametrize(
    "family", [families.TruncatedNormal, families.Beta, families.LogitNormal, families.Spline]
)
def test_families_on_the_interval_do_not_leak(family):
    """Nor where all of Q lies at an end, and float32 misses the end."""
    far = dist.Uniform(torch.tensor([100.0, 1000.3]), torch.tensor([101.1, 1000.9])).to_event(1)
    for prior, names in ((dist.Uniform(-1.0, 1.0), ["c"]), (far, ["c[0]", "c[1]"])):
        gan = InfoGAN({"c": prior}, (1, 8, 8), posterior={"c": family})
        for found in at_the_ends(gan):
            assert list(found) == names
            for one in found.values():
                assert one.outside == one.leak == 0.0


def test_a_joint_posterior_on_the_interval_does_not_leak():
    codes = {"a": dist.Uniform(1000.3, 1000.9), "b": dist.Uniform(100.0, 101.1)}
    gan = InfoGAN(codes, (1, 8, 8), posterior={("a", "b"): families.LogitNormal})
    for found in at_the_ends(gan):
        for one in found.values():
            assert one.outside == one.leak == 0.0


@pytest.mark.parametrize(
    ("posterior", "known_cdf"),
    [
        (dist.Laplace(0.5, 0.4), scipy.stats.laplace(0.5, 0.4).cdf),
        (
            dist.MixtureSameFamily(
                dist.Categorical(torch.tensor([1.0, 3.0])),
                dist.Normal(torch.tensor([0.0, 1.5]), torch.tensor([0.5, 2.0])),
            ),
            lambda c: (
                0.25 * scipy.stats.norm(0.0, 0.5).cdf(c) + 0.75 * scipy.stats.norm(1.5, 2.0).cdf(c)
            ),
        ),
    ],
)
def test_other_families_with_a_cdf(posterior, known_cdf):
    found = calibrate(blind(dist.Uniform(-1.0, 1.0), posterior), 20)["c"]
    mass = known_cdf(1.0) - known_cdf(-1.0)
    assert found.outside == pytest.approx(1 - mass, rel=1e-5)
    assert found.leak == pytest.approx(-math.log(mass), rel=1e-5)


def test_a_family_without_a_cdf_is_drawn_from():
    """The estimate of −log m has no bias, where that of log of the share of draws has."""
    freedom = 3.0
    posterior = dist.StudentT(torch.tensor(freedom), LOC, SCALE)
    samples, n = 20, 50_000
    found = calibrate(blind(dist.Uniform(-1.0, 1.0), posterior), n, samples)["c"]
    student = scipy.stats.t(freedom, LOC, SCALE)
    mass = student.cdf(1.0) - student.cdf(-1.0)
    error = math.sqrt(mass * (1 - mass) / samples / n)
    assert abs(found.outside - (1 - mass)) <= 4.5 * error
    # One estimate's deviation is that of the share, over m; what is left out is under m^20.
    assert abs(found.leak + math.log(mass)) <= 4.5 * error / mass
    plain = np.log(scipy.stats.binom.rvs(samples, mass, size=n, random_state=0) / samples)
    assert -plain.mean() + math.log(mass) > 9 * error / mass


def test_a_posterior_far_outside_has_a_finite_leak():
    found = calibrate(blind(dist.Uniform(-1.0, 1.0), dist.Normal(3.0, 0.1)), 20)["c"]
    assert found.outside == pytest.approx(1.0)
    assert found.leak == pytest.approx(-scipy.stats.norm.logcdf(-20.0), rel=1e-6)
    found = calibrate(blind(dist.Uniform(-1.0, 1.0), dist.Laplace(30.0, 0.1)), 20)["c"]
    assert math.isfinite(found.leak)
    found = calibrate(blind(dist.Uniform(-1.0, 1.0), dist.StudentT(3.0, 1e9, 0.1)), 20)["c"]
    assert found.outside == 1.0
    assert found.leak == pytest.approx(sum(1 / k for k in range(1, SAMPLES + 1)))


def test_half_a_line_has_one_edge():
    leaky = calibrate(blind(dist.Exponential(1.0), dist.Normal(1.0, 1.0)), 20)["c"]
    assert leaky.leak == pytest.approx(-scipy.stats.norm.logcdf(1.0), rel=1e-6)
    exact = calibrate(blind(dist.Exponential(1.0), dist.Gamma(1.0, 1.0)), N)["c"]
    assert exact.outside == exact.leak == 0.0
    assert exact.p_value > 0.001


# Angles

KAPPA = 2.0


def direction(x):
    return torch.atan2(x[:, 1], x[:, 0])


def turning(prior, posterior):
    """x = c + a von Mises angle, shown by its cosine and sine; c is an angle or 8π ± π."""
    grid = np.linspace(-math.pi, math.pi, 20_001)
    below = scipy.stats.vonmises.cdf(grid, KAPPA)

    def channel(inputs):
        if inputs.shape[1] == 3:
            code = torch.atan2(inputs[:, 2], inputs[:, 1])
        else:
            code = math.pi * inputs[:, 1]
        moved = np.interp((inputs[:, 0].numpy() + 1) / 2, below, grid)
        x = code + torch.as_tensor(moved, dtype=torch.float32)
        return torch.stack([x.cos(), x.sin()], -1)

    return known({"c": prior}, channel, {"c": posterior}, signals=2)


@pytest.mark.parametrize("width", [1.0, 0.6, 1.6])
def test_angles_have_no_seam(width):
    """The prior's mean is where angles jump from π to −π, and so is Q's."""
    prior = dist.VonMises(math.pi, 3.0)

    def posterior(x):
        # Concentrations add up as vectors.
        x = direction(x)
        cosine, sine = KAPPA * x.cos() - 3.0, KAPPA * x.sin()
        return dist.VonMises(torch.atan2(sine, cosine), torch.hypot(cosine, sine) / width**2)

    found = calibrate(turning(prior, posterior), N)["c"]
    if width == 1.0:
        assert found.p_value > 0.001
        assert agrees(found, found.nominal)
    else:
        assert found.p_value < 1e-6
        assert np.sign(np.mean(found.observed) - np.mean(found.nominal)) == np.sign(width - 1)
    assert found.outside is None


@pytest.mark.parametrize("samples", [2, 3])
def test_few_angles_all_around_are_ranked_evenly(samples):
    """Truth and draws are alike, so that every rank is as probable, wherever their mean lies."""
    around = dist.VonMises(0.0, 0.01)
    found = calibrate(blind(around, around), N, samples)["c"]
    assert len(found.counts) == samples + 1
    assert scipy.stats.chisquare(found.counts).pvalue > 1e-4


def test_an_interval_of_one_turn():
    """Of an even prior, Q is von Mises around x, turns away from where the prior counts it."""
    prior = dist.Uniform(7 * math.pi, 9 * math.pi)
    gan = turning(prior, lambda x: dist.VonMises(direction(x), torch.full((len(x),), KAPPA)))
    found = calibrate(gan, N)["c"]
    assert found.p_value > 0.001
    assert agrees(found, found.nominal)
    assert found.outside == found.leak == 0.0


def test_an_arc_leaks_what_lies_beyond_it():
    gan = blind(dist.Uniform(6 * math.pi, 7 * math.pi), dist.VonMises(math.pi / 2, 1.0))
    found = calibrate(gan, N)["c"]
    mass = np.diff(scipy.stats.vonmises.cdf([-math.pi / 2, math.pi / 2], 1.0)).item()
    error = math.sqrt(mass * (1 - mass) / SAMPLES / N)
    assert abs(found.outside - (1 - mass)) <= 4.5 * error
    assert abs(found.leak + math.log(mass)) <= 4.5 * error / mass


# Discrete codes

FLIP, K = 0.3, 5
TRUE = torch.where(torch.eye(K).bool(), 1 - FLIP, FLIP / (K - 1))


def flipped(inputs):
    """One-hot codes of K categories, changed to another one with probability ε."""
    share = (inputs[:, 0] + 1) / 2
    code = inputs[:, 1:].argmax(-1)
    other = (code + 1 + (share / FLIP * (K - 1)).long()) % K
    return torch.where(share < FLIP, other, code)[:, None].float()


def posterior_of(x, power=1.0):
    """The true probabilities to a power: above 1, Q is over-confident."""
    return TRUE[x[:, 0].round().long().clamp(0, K - 1)] ** power


KINDS = {
    "Categorical": (dist.Categorical(torch.ones(K)), dist.Categorical),
    "OneHotCategorical": (dist.OneHotCategorical(torch.ones(K)), dist.OneHotCategorical),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_categories_are_as_often_right_as_q_says(kind, power):
    prior, family = KINDS[kind]
    gan = known({"c": prior}, flipped, {"c": lambda x: family(posterior_of(x, power))})
    found = calibrate(gan, N)["c"]
    claimed = ((1 - FLIP) ** power / (TRUE[0] ** power).sum()).item()
    # Every image has the same confidence, so that one bin has all of them.
    assert found.statistic == "confidence"
    assert found.counts[math.ceil(claimed * 15) - 1] == N
    assert found.nominal == pytest.approx([claimed], rel=1e-5)
    error = math.sqrt(FLIP * (1 - FLIP) / N)
    assert abs(found.observed[0] - (1 - FLIP)) <= 4.5 * error
    assert abs(found.gap - abs(claimed - (1 - FLIP))) <= 4.5 * error
    if power == 1.0:
        assert found.p_value > 0.001
        # Of one bin, the mean deviation of a share.
        assert found.chance == pytest.approx(math.sqrt(2 / math.pi) * error, rel=0.1)
    else:
        assert found.p_value == 0.001
    assert found.outside is found.leak is None


def test_bins_gather_confidences_of_all_sizes():
    """Two flags whose probabilities x shows: Q says those of one, and bolder ones of the other."""

    def shown(inputs):
        # The larger of two even numbers where the flag is up, else the smaller one: their densities
        # are 2x and 2(1 − x), so that P(flag | x) = x.
        pairs = (inputs[:, :4].view(-1, 2, 2) + 1) / 2
        return torch.where(inputs[:, 4:] == 1, pairs.amax(-1), pairs.amin(-1))

    def read(x):
        chances = x[:, :2].clamp(1e-6, 1 - 1e-6)
        bold = torch.tensor([1.0, 2.0])
        return dist.Bernoulli(logits=bold * chances.logit()).to_event(1)

    prior = dist.Bernoulli(0.5).expand([2]).to_event(1)
    gan = known({"flags": prior}, shown, {"flags": read}, noise=4, signals=2)
    found = calibrate(gan, N)
    assert list(found) == ["flags[0]", "flags[1]"]
    honest, bold = found.values()
    assert sum(honest.counts[:7]) == 0
    assert len(honest.nominal) == 8
    assert honest.p_value > 0.001
    assert honest.gap <= 2 * honest.chance
    trials = np.array(honest.counts[7:])
    error = np.sqrt(np.array(honest.nominal) * (1 - np.array(honest.nominal)) / trials)
    assert (np.abs(np.subtract(honest.observed, honest.nominal)) <= 4.5 * error).all()
    assert bold.p_value == 0.001
    # max(p, 1 − p) is even on (½, 1); squared odds claim p²/(p² + (1 − p)²).
    share = np.linspace(0.5, 1.0, 10_001)
    claimed = share**2 / (share**2 + (1 - share) ** 2)
    assert bold.gap == pytest.approx((claimed - share).mean(), abs=4.5 * 0.5 / math.sqrt(N))


def test_counts_without_end_have_random_ranks():
    for rate, calibrated in ((2.0, True), (4.0, False)):
        gan = blind(dist.Poisson(2.0), dist.Poisson(torch.tensor(rate)))
        found = calibrate(gan, N)["c"]
        assert found.statistic == "rank"
        assert (found.p_value > 0.001) is calibrated
        assert found.outside is None


# Several codes together


def test_codes_of_a_joint_posterior_are_split():
    """Of a the image shows a + noise; of b nothing, whose true posterior is its even prior."""
    codes = {
        "a": dist.Normal(0.0, 1.0),
        "digit": dist.Categorical(torch.ones(3)),
        "b": dist.Uniform(-1.0, 1.0).expand([1]).to_event(1),
    }
    scale = torch.diag_embed(torch.tensor([math.sqrt(0.5), 1.0]))
    gan = known(
        codes,
        lambda inputs: inputs[:, 1:2] + normal(inputs[:, :1]),
        {
            ("a", "b"): lambda x: dist.MultivariateNormal(
                torch.stack([x[:, 0] / 2, torch.zeros(len(x))], -1), scale_tril=scale
            ),
            "digit": lambda x: dist.Categorical(torch.ones(len(x), 3)),
        },
    )
    found = calibrate(gan, N)
    assert list(found) == ["a", "digit", "b[0]"]
    assert found["a"].p_value > 0.001
    assert found["a"].outside is None
    assert found["digit"].p_value > 0.001
    assert found["b[0]"].p_value < 1e-6
    mass = math.erf(math.sqrt(0.5))
    error = math.sqrt(mass * (1 - mass) / SAMPLES / N)
    assert abs(found["b[0]"].outside - (1 - mass)) <= 4.5 * error
    assert abs(found["b[0]"].leak + math.log(mass)) <= 4.5 * error / mass


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_a_guide_is_drawn_from(power):
    """The guide is exact but for the power of its first site."""
    codes = {"digit": dist.OneHotCategorical(torch.ones(K)), "slant": dist.Normal(0.0, 1.0)}

    def channel(inputs):
        digit = flipped(torch.cat([inputs[:, :1], inputs[:, 2 : 2 + K]], -1))
        return torch.cat([digit, inputs[:, 2 + K :] + normal(inputs[:, 1:2])], -1)

    def guide(x):
        pyro.sample("digit", dist.OneHotCategorical(posterior_of(x, power)))
        pyro.sample("slant", dist.Normal(x[:, 1] / 2, math.sqrt(0.5)))

    found = calibrate(known(codes, channel, guide, noise=2, signals=2), N)
    assert list(found) == ["digit", "slant"]
    assert found["digit"].statistic == "rank"
    assert found["slant"].p_value > 0.001
    assert (found["digit"].p_value > 0.001) == (power == 1.0)


def test_codes_that_depend_on_others():
    def codes():
        high = pyro.sample("high", dist.Bernoulli(0.5))
        pyro.sample("c", dist.Uniform(high - 1.0, high + 1.0))

    # Half of the mass on either of (−1, 1) and (0, 2): the marginal's support is (−1, 2).
    gan = known(
        codes,
        nothing,
        {
            "high": lambda x: dist.Bernoulli(torch.full((len(x),), 0.5)),
            "c": lambda x: dist.Normal(torch.full((len(x),), 0.5), 1.5),
        },
    )
    found = calibrate(gan, 100)
    assert found["c"].outside == pytest.approx(1 - math.erf(math.sqrt(0.5)), rel=1e-5)


# Everything else


def test_every_declaration_is_looked_at():
    codes = {
        "hot": dist.OneHotCategorical(torch.ones(3)),
        "hots": dist.OneHotCategorical(torch.ones(2)).expand([2]).to_event(1),
        "kinds": dist.Categorical(torch.ones(3)).expand([2]).to_event(1),
        "far": dist.Normal(50.0, 2.0),
        "angles": dist.VonMises(0.0, 1.0).expand([2]).to_event(1),
        "shares": dist.Dirichlet(torch.ones(3)),
        "one": dist.Uniform(0.0, 1.0).expand([1]).to_event(1),
    }
    gan = InfoGAN(codes, (3, 8, 8), noise=2)
    found = calibrate(gan, 2, 2)
    assert list(found) == [
        "hot",
        *("hots[0]", "hots[1]"),
        *("kinds[0]", "kinds[1]"),
        "far",
        *("angles[0]", "angles[1]"),
        *("shares[0]", "shares[1]", "shares[2]"),
        "one[0]",
    ]
    for one in found.values():
        assert sum(one.counts) == 2
        assert 0 <= one.gap <= 1
        assert 0 < one.p_value <= 1
    assert len(figures.calibration(found).axes) == 2 * len(found)


def test_images_go_through_in_pieces(monkeypatch):
    gan = gaussian()
    sizes = []
    infer = gan.infer
    monkeypatch.setattr(gan, "infer", lambda images: sizes.append(len(images)) or infer(images))
    assert sum(calibrate(gan, BATCH + 1)["c"].counts) == BATCH + 1
    assert sizes == [BATCH, 1]
    sizes.clear()
    assert sum(calibrate(gan, 250, 20_000)["c"].counts) == 250
    assert max(sizes) * 20_000 <= 2_000_000


def test_random_state_and_modes_are_left_alone(gan):
    gan.train()
    state = torch.get_rng_state()
    first = calibrate(gan, 20, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert gan.training
    assert gan.trunk.training
    assert calibrate(gan, 20, seed=1) == first
    assert calibrate(gan, 20, seed=2) != first


@pytest.mark.parametrize("bad", [0, 1, -3, 2.5, True, "many"])
def test_bad_counts_are_refused(gan, bad):
    with pytest.raises(DataError, match=r"draws: got .* 2 or more"):
        calibrate(gan, bad)
    with pytest.raises(DataError, match=r"samples: got .* 2 or more"):
        calibrate(gan, 10, bad)


def test_the_report_has_it(gan, images):
    report = evaluate(gan, datasets.ImageSet(images, torch.arange(40) % 3), draws=50, seed=3)
    assert report.calibration == calibrate(gan, 50, seed=3)
    plain = report.data()["calibration"]
    assert list(plain) == ["digit", "slant", "style[0]", "style[1]"]
    assert plain["slant"]["leak"] == report.calibration["slant"].leak
    lines = str(report).splitlines()
    assert sum(line.startswith("calibration of ") for line in lines) == 4
    (line,) = (line for line in lines if "of slant" in line)
    assert line == f"calibration of slant: {report.calibration['slant']}"


def test_a_line_says_it_all():
    found = Calibration("rank", [2, 3, 4, 1], [0.5], [0.7], 0.2, 0.1, 0.5, 0.25, 0.3)
    says = "coverage off by 0.2000 (0.1000 by chance), p = 0.5"
    assert str(found) == f"{says}; 25.00% outside the support, 0.3000 nats lost"
    assert str(dataclasses.replace(found, outside=None, leak=None)) == says
    assert str(dataclasses.replace(found, p_value=0.001)).count("p = 0.001;") == 1
    assert str(dataclasses.replace(found, p_value=2e-309)).count("p < 0.0001;") == 1


def test_the_figure_shows_counts_and_curves():
    ranks = Calibration("rank", [2, 3, 4, 1], [0.5], [0.7], 0.2, 0.1, 0.5, 0.25, 0.3)
    sure = Calibration("confidence", [0] * 13 + [4, 6], [0.9, 1.0], [0.75, 1.0], 0.06, 0.05, 0.4)
    counts, shares = ranks.histogram()
    # Of ten images, two bins expect five each.
    assert (counts.tolist(), shares.tolist()) == ([5, 5], [0.5, 0.5])
    figure = figures.calibration({"slant": ranks, "digit": sure})
    top, other_top, bottom, other_bottom = figure.axes
    assert top.get_title() == "slant"
    assert other_top.get_title() == "digit"
    assert top.patches[-1].get_data().values.tolist() == [5, 5]
    assert other_top.patches[-1].get_data().values.tolist() == sure.counts
    for axes, found in ((bottom, ranks), (other_bottom, sure)):
        diagonal, curve = axes.lines
        np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
        assert curve.get_xdata().tolist() == found.nominal
        assert curve.get_ydata().tolist() == found.observed
    assert "leak 0.300" in bottom.texts[0].get_text()
    assert "leak" not in other_bottom.texts[0].get_text()
    with pytest.raises(DataError, match="one a code"):
        figures.calibration({})


def test_ranks_are_gathered_evenly():
    for ranks in (3, 7, 20, 50, 100, 101):
        found = Calibration("rank", [10] * ranks, [], [], 0.0, 0.0, 1.0)
        counts, shares = found.histogram()
        assert len(counts) <= 20
        np.testing.assert_allclose(counts, 10 * ranks * shares)
        assert max(shares) - min(shares) <= 1.01 / ranks
