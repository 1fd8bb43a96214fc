import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro import poutine
from torch.distributions import constraints

from pyro_infogan.codes import (
    CodePrior,
    base_support,
    encode,
    least_and_greatest,
    log_prob,
    placed,
    support,
    unit,
)
from pyro_infogan.descriptions import describe, matches, restore
from pyro_infogan.errors import DataError, DeclarationError

# prior, width of its encoding, entropy in nats
PRIORS = {
    "categorical": (dist.Categorical(torch.tensor([0.5, 0.25, 0.25])), 3, 1.5 * math.log(2)),
    "one_hot": (dist.OneHotCategorical(torch.ones(4)), 4, math.log(4)),
    "bernoulli": (dist.Bernoulli(0.5), 1, math.log(2)),
    "uniform": (dist.Uniform(-1.0, 1.0), 1, math.log(2)),
    "wide": (dist.Uniform(0.0, 360.0), 1, math.log(360)),
    "normal": (dist.Normal(0.0, 1.0), 1, 0.5 * math.log(2 * math.pi * math.e)),
    "uniforms": (dist.Uniform(-1.0, 1.0).expand([3]).to_event(1), 3, 3 * math.log(2)),
    "categoricals": (dist.Categorical(torch.ones(5)).expand([2]).to_event(1), 10, 2 * math.log(5)),
    "bernoullis": (dist.Bernoulli(0.5).expand([3]).to_event(1), 3, 3 * math.log(2)),
    "angle": (dist.VonMises(0.0, 1e-6), 2, math.log(2 * math.pi)),
    "normals": (
        dist.Normal(torch.zeros(2, 3), 1.0).to_event(2),
        6,
        3 * math.log(2 * math.pi * math.e),
    ),
}


@pytest.mark.parametrize(("prior", "width", "entropy"), PRIORS.values(), ids=PRIORS)
def test_declaration_gives_draws_scores_encodings_and_entropy(prior, width, entropy):
    codes = CodePrior({"code": prior})
    values = codes.draw(6)
    assert values["code"].shape == (6, *prior.event_shape)
    torch.testing.assert_close(codes.log_prob(values)["code"], prior.log_prob(values["code"]))
    assert codes.encode(values)["code"].shape == (6, width)
    assert codes.width == width
    assert codes.entropy()["code"].nats == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize(("prior", "width", "entropy"), PRIORS.values(), ids=PRIORS)
def test_entropy_is_the_mean_of_minus_log_p(prior, width, entropy):
    n = 20_000
    codes = CodePrior({"code": prior})
    score = -codes.log_prob(codes.draw(n))["code"]
    error = score.std().item() / math.sqrt(n)
    assert abs(score.mean().item() - codes.entropy()["code"].nats) <= 4 * error + 1e-4
    assert entropy == pytest.approx(codes.entropy()["code"].nats, rel=1e-5)


@pytest.mark.parametrize("size", [(), (2,)])
def test_a_draw_that_rounds_to_the_upper_end_has_its_density(size):
    """Float32 draws of U(1000, 1001) reach 1001 about once in 30,000."""
    prior = dist.Uniform(1000.0, 1001.0)
    prior = prior.expand(size).to_event(1) if size else prior
    end = torch.full(size, 1001.0)
    assert CodePrior({"year": prior}).log_prob({"year": end})["year"].item() == pytest.approx(0.0)


def test_a_value_beyond_the_upper_end_has_no_density():
    unchecked = dist.Uniform(0.0, 1.0, validate_args=False)
    assert log_prob(unchecked, torch.tensor(1.5)).item() == -math.inf


@pytest.mark.parametrize(
    "prior",
    [
        dist.Gumbel(0.0, 1.0),
        dist.TransformedDistribution(dist.Normal(0.0, 1.0), [torch.distributions.ExpTransform()]),
        dist.LogNormal(0.0, 1.0).expand([2]).to_event(1),
        dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)),
        dist.MultivariateNormal(torch.zeros(2), 2 * torch.eye(2)),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_any_pyro_distribution_is_drawn_scored_moved_and_described(prior):
    codes = CodePrior({"c": prior}).to(torch.float64)
    values = codes.draw(5)
    assert values["c"].dtype == torch.float64
    assert codes.log_prob(values)["c"].isfinite().all()
    described = describe(prior)
    assert matches(described, describe(prior))
    assert not matches(described, describe(dist.Normal(0.0, 1.0)))
    if isinstance(prior, dist.MultivariateNormal):
        again = restore(described)
        torch.testing.assert_close(again.covariance_matrix, prior.covariance_matrix)


def test_entropy_without_closed_form_is_estimated():
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([-100.0, 100.0]), 1.0)
    )
    truth = math.log(2) + 0.5 * math.log(2 * math.pi * math.e)
    found = CodePrior({"mix": mixture}).entropy()["mix"]
    assert abs(found.nats - truth) <= 4 * found.error
    # −log p has variance 1/2 for a normal, and there are 100,000 draws.
    assert found.error == pytest.approx(math.sqrt(0.5 / 100_000), rel=0.02)


def test_the_program_and_the_direct_route_score_alike():
    codes = CodePrior({name: prior for name, (prior, _, _) in PRIORS.items()})

    def program():
        with pyro.plate("images", 7):
            return codes()

    trace = poutine.trace(program).get_trace()
    trace.compute_log_prob()
    direct = codes.log_prob({name: trace.nodes[name]["value"] for name in PRIORS})
    for name in PRIORS:
        torch.testing.assert_close(trace.nodes[name]["log_prob"], direct[name])


def test_encoding_reads_back():
    value = torch.tensor([2, 0, 1])
    torch.testing.assert_close(encode(dist.Categorical(torch.ones(3)), value).argmax(-1), value)
    edges = torch.tensor([0.0, 180.0, 360.0])
    torch.testing.assert_close(
        encode(dist.Uniform(0.0, 360.0), edges).squeeze(-1), torch.tensor([-1.0, 0.0, 1.0])
    )
    paper = torch.tensor([-1.0, 0.3])
    torch.testing.assert_close(encode(dist.Uniform(-1.0, 1.0), paper).squeeze(-1), paper)


@pytest.mark.parametrize(("prior", "width", "entropy"), PRIORS.values(), ids=PRIORS)
def test_described_priors_are_restored(prior, width, entropy):
    described = describe(prior)
    again = restore(described)
    assert matches(described, describe(again))
    value = prior.sample((5,))
    torch.testing.assert_close(again.log_prob(value), prior.log_prob(value))


def test_descriptions_of_other_priors_do_not_match():
    assert not matches(describe(dist.Uniform(-1.0, 1.0)), describe(dist.Uniform(-1.0, 2.0)))
    assert not matches(describe(dist.Uniform(-1.0, 1.0)), describe(dist.Normal(0.0, 1.0)))


def test_a_prior_that_numbers_cannot_say_is_not_restored():
    bent = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [torch.distributions.ExpTransform()])
    with pytest.raises(DeclarationError, match=r"TransformedDistribution, which no .* restore\(\)"):
        restore(describe(bent))


def test_a_mixture_lies_where_its_components_do():
    weights = dist.Categorical(torch.ones(2))
    peaks = dist.MixtureSameFamily(weights, dist.Normal(torch.tensor([-2.0, 2.0]), 0.3))
    assert support(peaks) is constraints.real
    assert support(peaks.expand([3]).to_event(1)).event_dim == 1
    assert base_support(peaks.expand([3]).to_event(1)) is constraints.real
    rates = dist.MixtureSameFamily(weights, dist.Gamma(torch.tensor([1.0, 9.0]), 1.0))
    assert support(rates) is dist.Gamma(1.0, 1.0).support
    # Its components have supports of their own.
    parts = dist.Uniform(torch.tensor([-2.0, 0.0]), torch.tensor([0.0, 2.0]))
    assert support(dist.MixtureSameFamily(weights, parts)) is not parts.support
    # And so have kinds, which a mixture cannot list.
    kinds = dist.Categorical(torch.tensor([[0.5, 0.5], [0.1, 0.9]]))
    mixed = dist.MixtureSameFamily(weights, kinds)
    assert str(support(mixed)) == str(mixed.support)


def test_a_prior_of_the_users_own_is_opaque_and_not_restored():
    class Mine(dist.Normal):
        pass

    described = describe(Mine(0.0, 1.0))
    assert "Mine" in str(described)
    with pytest.raises(DeclarationError, match="restore"):
        restore(described)


def test_priors_follow_their_module():
    codes = CodePrior(
        {"u": dist.Uniform(-1.0, 1.0), "v": dist.Normal(torch.zeros(2), 1.0).to_event(1)}
    )
    codes.to(torch.float64)
    assert {value.dtype for value in codes.draw(2).values()} == {torch.float64}


class TestHolding:
    codes = CodePrior(
        {
            "digit": dist.Categorical(torch.ones(10)),
            "slant": dist.Uniform(-1.0, 1.0),
            "style": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
        }
    )

    def test_one_value_for_all_or_one_each(self):
        held = self.codes.hold({"digit": 3, "slant": torch.arange(4.0), "style": [0.1, 0.2]}, 4)
        assert held["digit"].tolist() == [3, 3, 3, 3]
        assert held["slant"].tolist() == [0.0, 1.0, 2.0, 3.0]
        assert held["style"].shape == (4, 2)

    @pytest.mark.parametrize(
        "codes",
        [
            {"colour": 1},
            {"digit": 10},
            {"digit": -1},
            {"digit": 3.5},
            {"digit": "three"},
            {"digit": torch.zeros(3)},
            {"slant": float("nan")},
            {"slant": torch.zeros(4, 2)},
            {"style": [0.1, 0.2, 0.3]},
        ],
        ids=str,
    )
    def test_bad_values_are_refused(self, codes):
        with pytest.raises(DataError, match=r"got .* expected .*\. "):
            self.codes.hold(codes, 4)


@pytest.mark.parametrize(
    ("declaration", "says"),
    [
        ({}, "no codes"),
        ([dist.Normal(0.0, 1.0)], "dictionary"),
        ({"slant": torch.distributions.Uniform(-1.0, 1.0)}, r"pyro\.distributions\.Uniform"),
        ({"slant": 3.0}, "a Pyro distribution"),
        ({"slant": dist.Uniform(-1.0, torch.ones(3))}, r"to_event\(1\)"),
        ({"slant": dist.Normal(torch.zeros(0), 1.0).to_event(1)}, "at least one number"),
        ({"my slant": dist.Normal(0.0, 1.0)}, "identifier"),
        ({"class": dist.Normal(0.0, 1.0)}, "identifier"),
        ({3: dist.Normal(0.0, 1.0)}, "identifier"),
        ({"noise": dist.Normal(0.0, 1.0)}, "Rename"),
        ({"images": dist.Normal(0.0, 1.0)}, "Rename"),
        ({"_RETURN": dist.Normal(0.0, 1.0)}, "underscore"),
        ({"count": dist.Poisson(math.inf)}, "rate inf"),
        ({"slants": dist.Normal(torch.tensor([0.0, math.inf]), 1.0).to_event(1)}, "loc inf"),
        ({"far": dist.LogNormal(math.inf, 1.0)}, "Normal with loc inf"),
        ({"wide": dist.Normal(torch.tensor(1e300, dtype=torch.float64), 1.0)}, "in float32"),
        ({"many": dist.Poisson(1e30)}, "scores its own draws"),
        ({"many": dist.Poisson(1e8)}, "draws that float32 can tell apart"),
        ({"few": dist.Empirical(torch.arange(3.0), torch.zeros(3))}, "'few', Empirical: got Value"),
        ({"fixed": dist.VonMises(0.0, 1e5)}, "at most 10,000"),
        ({"masked": dist.Normal(0.0, 1.0).mask(False)}, r"\.mask\(\)"),
        ({"masks": dist.Normal(torch.zeros(2), 1.0).mask(False).to_event(1)}, r"\.mask\(\)"),
        ({"heaped": dist.Beta(0.05, 0.05)}, "-15.456 nats, and -11"),
        (
            {
                "rounded": dist.TransformedDistribution(
                    dist.Uniform(0.0, 1.0), [dist.transforms.AffineTransform(1000.0, 1.0)]
                )
            },
            "inf nats",
        ),
        ({"learned": dist.Normal(torch.nn.Parameter(torch.zeros(())), 1.0)}, "nn.Module"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_declarations_are_refused(declaration, says):
    with pytest.raises(DeclarationError, match=says) as caught:
        CodePrior(declaration)
    assert "got" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    ("prior", "centre", "scale"),
    [
        (dist.Poisson(100.0), 100.0, 10.0),
        (dist.Binomial(64, torch.tensor(0.5)), 32.0, 4.0),
        (dist.Gamma(4.0, 0.5), 8.0, 4.0),
        (dist.Exponential(torch.tensor([1.0, 0.1])).to_event(1), [1.0, 10.0], [1.0, 10.0]),
    ],
    ids=str,
)
def test_the_generator_reads_counts_and_half_lines_by_their_mean_and_deviation(
    prior, centre, scale
):
    codes = CodePrior({"c": prior})
    values = codes.draw(50)
    read = (values["c"] - torch.tensor(centre)) / torch.tensor(scale)
    torch.testing.assert_close(codes.encode(values)["c"], read.reshape(50, -1))


@pytest.mark.parametrize(
    ("prior", "low", "high"),
    [
        (dist.AffineBeta(*torch.tensor([2.0, 3.0, 1.0, 4.0])), 1.0, 5.0),
        (dist.AsymmetricLaplace(0.0, 1.0, torch.tensor(2.0)), -60.0, 60.0),
        (dist.Beta(2.0, 3.0), 0.0, 1.0),
        (dist.Cauchy(0.0, 1.0), -3e4, 3e4),
        (dist.ContinuousBernoulli(torch.tensor(0.3)), 0.0, 1.0),
        (dist.Exponential(2.0), 0.0, 30.0),
        (dist.FisherSnedecor(5.0, 8.0), 0.0, 4e3),
        (dist.Gamma(2.0, 1.0), 0.0, 60.0),
        (dist.GeneralizedPareto(*torch.tensor([0.0, 1.0, 0.1])), 0.0, 400.0),
        (dist.Gumbel(0.0, 1.0), -10.0, 40.0),
        (dist.HalfCauchy(1.0), 0.0, 3e4),
        (dist.HalfNormal(1.0), 0.0, 12.0),
        (dist.InverseGamma(3.0, 1.0), 0.0, 3e3),
        (dist.Kumaraswamy(2.0, 3.0), 0.0, 1.0),
        (dist.Laplace(0.0, 1.0), -40.0, 40.0),
        (dist.Logistic(0.0, 1.0), -50.0, 50.0),
        (dist.LogNormal(0.0, 1.0), 0.0, 3e3),
        (dist.Normal(1.0, 2.0), -20.0, 20.0),
        (dist.Pareto(1.0, 3.0), 1.0, 3e3),
        (dist.SkewLogistic(*torch.tensor([0.0, 1.0, 2.0])), -60.0, 60.0),
        (dist.SoftAsymmetricLaplace(*torch.ones(4)), -60.0, 60.0),
        (dist.SoftLaplace(*torch.ones(2)), -60.0, 60.0),
        (dist.StudentT(3.0), -3e3, 3e3),
        (dist.Uniform(-1.0, 2.0), -1.0, 2.0),
        (dist.VonMises(0.0, 1.0), -math.pi, math.pi),
        (dist.Weibull(1.0, 2.0), 0.0, 12.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_declaration_is_drawn_as_it_is_scored(prior, low, high):
    """By the probability integral transform: by its own density's, draws are uniform.

    L_I is a bound for those alone, and some of torch and Pyro are not.
    """
    torch.manual_seed(0)
    draws = CodePrior({"c": prior}).draw(20_000)["c"].double()
    inside = draws[(draws > low) & (draws < high)]
    grid = torch.linspace(low, high, 20_002, dtype=torch.float64)[1:-1]
    grid = torch.cat([grid, inside.quantile(torch.linspace(0, 1, 10_001).double())]).unique()
    with pyro.validation_enabled(False):
        density = prior.log_prob(grid.float()).double().exp()
    below = np.concatenate([[0.0], torch.cumulative_trapezoid(density, grid).numpy()])
    assert below[-1] == pytest.approx(1.0, abs=2e-3)
    shares = np.interp(draws.numpy(), grid.numpy(), below)
    assert scipy.stats.kstest(shares, "uniform").pvalue > 1e-3


def test_a_half_line_that_calls_itself_an_interval_is_read_by_its_moments():
    prior = dist.GeneralizedPareto(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.1))
    centre, scale = unit(prior)
    assert centre == prior.mean
    assert scale == prior.stddev


@pytest.mark.parametrize("power", [1, 2], ids=["shares", "directions"])
def test_numbers_that_hold_each_other_give_way_in_proportion(power):
    """Shares keep their sum, coordinates of a direction their length; of each vector by itself."""
    one = dist.Dirichlet(torch.ones(3)) if power == 1 else dist.ProjectedNormal(torch.zeros(3))
    prior = one.expand([2]).to_event(1)
    codes, to = prior.sample((50,)), torch.linspace(0.0, 1.0, 50)
    moved = placed(prior, codes, 4, to)
    torch.testing.assert_close(moved[:, 1, 1], to)
    torch.testing.assert_close(moved[:, 0], codes[:, 0])
    torch.testing.assert_close(moved.norm(power, -1), torch.ones(50, 2))
    before, after = codes[:, 1, [0, 2]], moved[:, 1, [0, 2]]
    torch.testing.assert_close(
        before[:, 0] * after[:, 1], before[:, 1] * after[:, 0], atol=1e-6, rtol=1e-5
    )
    edge = one.sample((1,)) * 0.0
    edge[0, 0] = 1.0
    even = placed(one, edge, 0, torch.tensor([0.0]))
    torch.testing.assert_close(even, torch.tensor([[0.0, 1.0, 1.0]]) / 2 ** (1 / power))


@pytest.mark.parametrize(
    ("prior", "usual", "shown"),
    [
        (dist.Uniform(0.0, 10.0), (0.0, 10.0), (-5.0, 15.0)),
        (dist.Normal(1.0, 2.0), (-1.0, 3.0), (-3.0, 5.0)),
        (dist.Exponential(0.5), (0.0, 4.0), (0.0, 6.0)),
        (dist.Pareto(2.0, 3.0), (2.0, 3.0 + 3**0.5), (2.0, 3.0 + 12**0.5)),
        (dist.Poisson(4.0), (2.0, 6.0), (0.0, 8.0)),
        (dist.VonMises(1.0, 2.0), (1.0 - math.pi, 1.0 + math.pi), (1.0 - math.pi, 1.0 + math.pi)),
        (dist.Dirichlet(torch.ones(2)), (0.0, 1.0), (0.0, 1.0)),
        (dist.ProjectedNormal(torch.ones(2)), (-1.0, 1.0), (-1.0, 1.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_code_is_shown_where_it_lies_or_may_be_held(prior, usual, shown):
    codes = CodePrior({"c": prior})
    for found, ends in ((codes.usual("c"), usual), (codes.shown("c"), shown)):
        for end, expected in zip(found, ends, strict=True):
            torch.testing.assert_close(end, torch.full(tuple(prior.event_shape), expected))


@pytest.mark.parametrize(
    ("prior", "truth"),
    [
        (dist.Poisson(3.0), scipy.stats.poisson(3.0)),
        (dist.Poisson(1e6), scipy.stats.poisson(1e6)),
        (dist.NegativeBinomial(1e5, torch.tensor(0.5)), scipy.stats.nbinom(1e5, 0.5)),
        (dist.Geometric(0.3), scipy.stats.geom(0.3, loc=-1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_counts_are_scored_in_all_their_digits(prior, truth):
    values = CodePrior({"n": prior}).draw(50)["n"]
    expected = torch.as_tensor(truth.logpmf(values.numpy()), dtype=torch.float32)
    torch.testing.assert_close(log_prob(prior, values), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("prior", "centre", "scale"),
    [
        # Medians, and half of what is between the percentiles 16 and 84.
        (dist.Cauchy(5.0, 2.0), 5.0, 2.0 * math.tan(math.pi * 0.3413)),
        (dist.HalfCauchy(1.0), 1.0, 1.69),
        (dist.Pareto(20.0, 0.9), 20.0 * 2 ** (1 / 0.9), 65.2),
        (dist.LogNormal(0.0, 5.0), 1.0, math.sinh(5.0)),
        # Nobody knows its moments.
        (
            dist.TransformedDistribution(
                dist.Normal(0.0, 1.0), [dist.transforms.AffineTransform(7.0, 3.0)]
            ),
            7.0,
            3.0,
        ),
        # Not heavy: the mean and the deviation.
        (dist.StudentT(3.0), 0.0, 3**0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_heavy_tails_are_read_by_the_middle(prior, centre, scale):
    found = unit(prior)
    # Of 10,000 draws a percentile is off by some hundredths.
    assert found[0].item() == pytest.approx(centre, rel=0.1, abs=0.1)
    assert found[1].item() == pytest.approx(scale, rel=0.1)
    low, high = CodePrior({"c": prior}).shown("c")
    assert least_and_greatest(prior)[0] <= low < high


@pytest.mark.parametrize(
    "prior",
    [
        dist.LogNormal(0.0, 3.0),
        dist.HalfCauchy(2.0),
        dist.Pareto(20.0, 0.9),
        dist.Cauchy(5.0, 0.1),
        dist.StudentT(1.5, torch.tensor([0.0, 9.0]), torch.tensor([1.0, 0.1])).to_event(1),
    ],
    ids=str,
)
def test_heavy_tails_do_not_drown_what_the_generator_reads(prior):
    """In order as the numbers are, the middle where a normal's would be, the far ones not far."""
    torch.manual_seed(0)
    codes = CodePrior({"c": prior})
    values = codes.draw(20_000)["c"]
    read = codes.encode({"c": values})["c"]
    assert read.abs().max() < 15.0
    middle = read.quantile(torch.tensor([0.1587, 0.5, 0.8413]), 0)
    assert (middle[1].abs() < 0.3).all()
    assert ((middle[2] - middle[0]) / 2 > 0.5).all()
    assert ((middle[2] - middle[0]) / 2 < 1.5).all()
    order = values.reshape(len(read), -1).sort(0).indices
    assert (read.gather(0, order).diff(dim=0) >= 0).all()
    # Far out as well as at the end, where a half-line has one.
    low, high = codes.shown("c")
    for end in (low, high, torch.full_like(low, 1e30)):
        assert codes.encode({"c": end.unsqueeze(0)})["c"].isfinite().all()


def test_light_tails_are_read_as_they_are():
    """By mean and deviation, however far out."""
    for prior in (dist.Exponential(2.0), dist.Normal(3.0, 2.0), dist.Gumbel(0.0, 1.0)):
        values = torch.tensor([0.1, 5.0, 100.0])
        read = (values - prior.mean) / prior.stddev
        torch.testing.assert_close(encode(prior, values).squeeze(-1), read)


def test_describing_a_prior_leaves_it_alone():
    """Some distributions keep what they are asked for, and then contradict themselves."""
    prior = dist.ZeroInflatedPoisson(torch.tensor(3.0), gate=torch.tensor(0.3))
    described = describe(prior)
    assert described == describe(restore(described))
    assert prior.expand([4]).sample().shape == (4,)
    mixed = dist.MaskedMixture(torch.tensor(True), dist.Normal(0.0, 1.0), dist.Normal(3.0, 2.0))
    assert restore(describe(mixed)).mean == mixed.mean
