import copy
import math
import subprocess
import sys
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.stats
import torch
from pyro import poutine
from torch import nn
from torch.distributions import AffineTransform, constraints

from pyro_infogan import InfoGAN, families
from pyro_infogan.codes import least_and_greatest, log_prob, unit
from pyro_infogan.errors import DeclarationError
from pyro_infogan.inference import parameters
from pyro_infogan.inference.families.bounded import TruncatedNormalDistribution
from pyro_infogan.inference.families.discrete import DiscretizedLogisticDistribution

UNIFORM = dist.Uniform(-1.0, 1.0)
# Families that stay inside an interval.
INSIDE = [families.TruncatedNormal, families.Beta, families.LogitNormal, families.Spline]
# Those that stay inside any other support that they cover.
KEPT = [families.Dirichlet, families.ProjectedNormal, families.LogNormal]


class Below(dist.TransformedDistribution):
    """Numbers below 2."""

    support = constraints.less_than(2.0)


HALF_LINES = [
    dist.Exponential(2.0),
    dist.Gamma(torch.tensor([2.0, 5.0]), 1.0).to_event(1),
    dist.Pareto(3.0, 4.0),
    dist.LogNormal(0.0, 1.0),
    # Called an interval, whose end is infinite.
    dist.GeneralizedPareto(*torch.tensor([1.0, 1.0, 0.1])),
    Below(dist.Exponential(1.0), [AffineTransform(2.0, -1.0)]),
]
COUNTS = [
    dist.Poisson(3.0),
    dist.Poisson(torch.tensor([2.0, 30.0])).to_event(1),
    dist.Geometric(0.3),
    dist.NegativeBinomial(3.0, torch.tensor(0.4)),
]
PAIRS = [
    (dist.Categorical(torch.ones(5)), families.Categorical),
    (dist.Categorical(torch.ones(5)).expand([3]).to_event(1), families.Categorical),
    (dist.Binomial(4, torch.tensor(0.5)), families.Categorical),
    (dist.OneHotCategorical(torch.ones(5)), families.OneHotCategorical),
    (dist.OneHotCategorical(torch.ones(5)).expand([3]).to_event(1), families.OneHotCategorical),
    (dist.Bernoulli(0.3), families.Bernoulli),
    (dist.Bernoulli(0.3).expand([3]).to_event(1), families.Bernoulli),
    (UNIFORM, families.Normal),
    (UNIFORM, partial(families.Normal, floor=0.3)),
    (UNIFORM.expand([3]).to_event(1), families.Normal),
    (dist.Uniform(0.0, 360.0), families.Normal),
    (dist.Normal(2.0, 3.0), families.Normal),
    (dist.Normal(torch.zeros(2, 3), 1.0).to_event(2), families.Normal),
    (dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), families.Normal),
    (UNIFORM, families.FixedNormal),
    (UNIFORM, families.Laplace),
    (dist.Normal(2.0, 3.0), families.Laplace),
    (UNIFORM, families.StudentT),
    (dist.Laplace(0.0, 1.0), families.StudentT),
    (UNIFORM, families.MixtureOfNormals),
    (dist.Normal(2.0, 3.0), families.MixtureOfNormals),
    (UNIFORM.expand([3]).to_event(1), families.MixtureOfNormals),
    (UNIFORM.expand([3]).to_event(1), families.MultivariateNormal),
    (dist.MultivariateNormal(torch.zeros(2), 3 * torch.eye(2)), families.MultivariateNormal),
    *(
        (prior, family)
        for family in INSIDE
        for prior in (
            UNIFORM,
            dist.Uniform(0.0, 360.0),
            UNIFORM.expand([3]).to_event(1),
            dist.Beta(2.0, 1.0),
        )
    ),
    *((prior, families.Normal) for prior in HALF_LINES),
    *((prior, families.TruncatedNormal) for prior in HALF_LINES),
    *((prior, families.LogNormal) for prior in HALF_LINES),
    *((prior, families.DiscretizedLogistic) for prior in COUNTS),
    (dist.Binomial(4, torch.tensor(0.5)), families.DiscretizedLogistic),
    (dist.Dirichlet(torch.ones(3)), families.Dirichlet),
    (dist.Dirichlet(torch.ones(2, 3)).to_event(1), families.Dirichlet),
    (dist.ProjectedNormal(torch.zeros(3)), families.ProjectedNormal),
    (dist.ProjectedNormal(torch.ones(3, 2)).to_event(1), families.ProjectedNormal),
    (UNIFORM, families.Zuko),
    (dist.Normal(torch.zeros(2, 2), 3.0).to_event(2), families.Zuko),
    (dist.VonMises(0.0, 1.0), families.VonMises),
    (dist.VonMises(0.0, torch.ones(2)).to_event(1), families.VonMises),
]


@pytest.mark.parametrize(("prior", "family"), PAIRS, ids=lambda x: str(x)[:60])
class TestContract:
    def test_shapes_and_log_probabilities(self, prior, family):
        head = family(prior, 16)
        posterior = head(torch.randn(6, 16))
        assert posterior.batch_shape == (6,)
        assert posterior.event_shape == prior.event_shape
        value = prior.sample((6,))
        direct = posterior.log_prob(value)
        assert direct.shape == (6,)
        assert direct.isfinite().all()

        def program():
            with pyro.plate("images", 6):
                pyro.sample("code", posterior)

        traced = poutine.trace(poutine.condition(program, {"code": value})).get_trace()
        traced.compute_log_prob()
        torch.testing.assert_close(traced.nodes["code"]["log_prob"], direct)
        # Each value at every image.
        grid = posterior.log_prob(value.unsqueeze(1))
        assert grid.shape == (6, 6)
        torch.testing.assert_close(grid.diagonal(), direct)

    def test_samples_stay_in_the_support_that_the_family_keeps(self, prior, family):
        draws = family(prior, 16)(torch.randn(50, 16)).sample()
        if prior.support.is_discrete or family in (*INSIDE, *KEPT):
            assert prior.support.check(draws).all()
        assert draws.isfinite().all()

    def test_gradients_reach_every_parameter(self, prior, family):
        head = family(prior, 16)
        head(torch.randn(6, 16)).log_prob(prior.sample((6,))).sum().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_state_goes_round_and_repr_speaks(self, prior, family):
        head, other = family(prior, 16), family(prior, 16)
        other.load_state_dict(copy.deepcopy(head.state_dict()))
        features, value = torch.randn(6, 16), prior.sample((6,))
        torch.testing.assert_close(other(features).log_prob(value), head(features).log_prob(value))
        assert type(head).__name__ in repr(head)

    def test_scores_are_float32_under_autocast(self, prior, family):
        gan = InfoGAN({"code": prior}, (1, 8, 8), posterior={"code": family})
        with torch.autocast("cpu", torch.bfloat16):
            posterior = gan.posteriors(torch.rand(6, 1, 8, 8))["code"]
        scores = posterior.log_prob(prior.sample((6,)))
        assert scores.dtype == torch.float32

    def test_of_images_that_say_nothing_there_is_no_bound_above_0(self, prior, family):
        """Gibbs' inequality: of one Q for all images E log q(c) is −H(c) at most."""
        head, features = family(prior, 4), torch.ones(1, 4)
        optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
        for _ in range(100):
            optimiser.zero_grad()
            (-head(features).log_prob(prior.sample((256, 1))).mean()).backward()
            optimiser.step()
        values = prior.sample((5_000, 1))
        with torch.no_grad():
            score = head(features).log_prob(values).flatten() - log_prob(prior, values).flatten()
        assert score.mean() <= 4 * score.std() / 5_000**0.5 + 1e-6

    def test_parameters_have_the_batch_in_front(self, prior, family):
        _, values = parameters(family(prior, 16)(torch.randn(6, 16)))
        assert values
        assert all(len(value) == 6 for value in values.values())


DEFAULTS = (
    families.Categorical,
    families.OneHotCategorical,
    families.Bernoulli,
    families.Normal,
    families.Dirichlet,
    families.VonMises,
    families.ProjectedNormal,
)
COMPONENTS = dist.Categorical(torch.ones(2))


@pytest.mark.parametrize(
    ("prior", "family"),
    [
        *(pair for pair in PAIRS if pair[1] in DEFAULTS and pair[0] not in HALF_LINES),
        *((prior, families.TruncatedNormal) for prior in HALF_LINES),
        *((prior, families.DiscretizedLogistic) for prior in COUNTS),
        (
            dist.MixtureSameFamily(COMPONENTS, dist.Poisson(torch.tensor([1.0, 9.0]))),
            families.DiscretizedLogistic,
        ),
        # Whole numbers without any end.
        (dist.ExtendedBinomial(torch.tensor(5), torch.tensor(0.5)), families.DiscretizedLogistic),
        # Tails of which a normal's log density has no mean, or hardly one.
        (dist.HalfCauchy(1.0), families.LogNormal),
        (dist.Pareto(20.0, 0.9), families.LogNormal),
        (dist.LogNormal(0.0, 5.0), families.LogNormal),
    ],
    ids=lambda x: str(x)[:60],
)
def test_the_default_follows_the_support(prior, family):
    """A declaration is all that a code needs."""
    assert families.default(prior) is family
    gan = InfoGAN({"code": prior}, (1, 8, 8), noise=2)
    assert math.isfinite(gan.information(20)["code"].bound)


CONTINUOUS = [
    pair
    for pair in PAIRS
    if not pair[0].event_shape and not pair[0].support.is_discrete and pair[0] not in HALF_LINES
]


@pytest.mark.parametrize(("prior", "family"), CONTINUOUS, ids=lambda x: str(x)[:60])
def test_densities_integrate_to_one(prior, family):
    head = family(prior, 4)
    # Tails are followed far out, and further for the heavy ones.
    reach = 4_000.0 if family is families.StudentT else 60.0
    centre, scale = unit(prior)
    if isinstance(prior, dist.VonMises):
        low, high = -torch.pi, torch.pi
    elif family in INSIDE:
        low, high = (centre - scale).item(), (centre + scale).item()
    else:
        low, high = (centre - reach * scale).item(), (centre + reach * scale).item()
    grid = torch.linspace(low, high, 400_001)
    density = head(torch.randn(1, 4)).expand((len(grid),)).log_prob(grid).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("family", INSIDE, ids=lambda x: x.__name__)
@pytest.mark.parametrize("prior", [UNIFORM, dist.Uniform(0.0, 360.0)], ids=str)
def test_bounded_families_stay_inside_and_are_finite_at_the_edges(prior, family):
    head = family(prior, 4)
    # Hidden features far larger than training gives push every parameter to its limits.
    for size in (1.0, 100.0, 1e4):
        posterior = head(size * torch.randn(300, 4))
        draws = posterior.sample((20,))
        assert prior.support.check(draws).all()
        for edge in (prior.low, prior.high):
            value = edge.expand(300).clone().requires_grad_()
            score = posterior.log_prob(value)
            assert score.isfinite().all()
            head.zero_grad()
            score.sum().backward(retain_graph=True)
            assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize("family", INSIDE, ids=lambda x: x.__name__)
def test_draws_follow_their_density(family):
    """By the probability integral transform on a grid: means of log-densities agree."""
    posterior = family(UNIFORM, 4)(torch.randn(1, 4))
    draws = posterior.sample((20_000,)).squeeze(-1)
    grid = torch.linspace(-1.0, 1.0, 200_001)
    density = posterior.expand((len(grid),)).log_prob(grid).exp()
    for power in (1, 2):
        moment = torch.trapezoid(density * grid**power, grid)
        error = (draws**power).std() / len(draws) ** 0.5
        assert abs((draws**power).mean() - moment) <= 4 * error + 1e-4


def test_truncated_normal_agrees_with_scipy():
    loc, scale = torch.tensor([-30.0, -0.3, 0.8, 25.0]), torch.tensor([1.0, 0.5, 0.1, 2.0])
    cut = TruncatedNormalDistribution(loc, scale, -1.0, 1.0)
    for value in (-1.0, -0.2, 0.9, 1.0):
        mean, std = loc.double(), scale.double()
        truth = scipy.stats.truncnorm.logpdf(value, (-1 - mean) / std, (1 - mean) / std, mean, std)
        ours = cut.log_prob(torch.full((4,), value)).double()
        # At an end, rounding may put scipy's value outside, where the density is 0.
        known = torch.as_tensor(truth).isfinite()
        torch.testing.assert_close(ours[known], torch.as_tensor(truth)[known], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("loc", [-30.0, -1.9, 0.3, 1.2, 3.0, 30.0])
def test_truncated_normal_draws_what_scipy_knows_of_it(loc, scale):
    """Far past an edge too, where the probabilities of both ends are 0 in all their digits."""
    torch.manual_seed(0)
    at = torch.tensor(loc, requires_grad=True)
    cut = TruncatedNormalDistribution(at, torch.tensor(scale), -1.0, 1.0)
    draws = cut.rsample((20_000,))
    (gradient,) = torch.autograd.grad(draws.mean(), at)

    def moments(loc):
        ends = (-1 - loc) / scale, (1 - loc) / scale
        return scipy.stats.truncnorm.stats(*ends, loc, scale, moments="mv")

    # By its tail's exponential, where scipy's own variance is a difference of equal numbers.
    far = abs(loc) > 10
    rate = (abs(loc) - 1) / scale**2
    mean, variance = (math.copysign(1 - 1 / rate, loc), rate**-2) if far else moments(loc)
    error = math.sqrt(variance / len(draws))
    # Of float32, and of what the exponential leaves out.
    assert abs(draws.mean().item() - mean) <= 4 * error + 1e-6 + 0.01 * far / rate
    assert draws.abs().max() <= 1
    # The variance of a truncated normal is σ² times the derivative of its mean.
    assert gradient.item() == pytest.approx(variance / scale**2, rel=0.06, abs=1e-5)


@pytest.mark.parametrize("family", INSIDE, ids=lambda x: x.__name__)
def test_bounded_families_have_no_density_outside(family):
    """But for rounding: a draw of an interval may be the number beyond its end."""
    prior = dist.Uniform(1000.0, 1001.0)
    beyond = torch.nextafter(torch.tensor(1001.0), torch.tensor(2000.0))
    outside = torch.tensor([999.0, 1001.5])
    # Validation would refuse them before.
    with pyro.validation_enabled(False):
        posterior = family(prior, 4)(torch.zeros(1, 4))
        assert posterior.log_prob(torch.tensor([1000.0, 1001.0, beyond])).isfinite().all()
        assert (posterior.log_prob(outside) == -math.inf).all()


def on_a_half_line():
    """Families that stay on one, with the end, and the way from it."""
    for prior in HALF_LINES:
        if not prior.event_shape:
            low, high = least_and_greatest(prior)
            end, way = (low, 1.0) if low.isfinite() else (high, -1.0)
            for family in (families.TruncatedNormal, families.LogNormal):
                yield pytest.param(prior, family, end, way, id=f"{family.__name__}-{prior}")


@pytest.mark.parametrize(("prior", "family", "end", "way"), list(on_a_half_line()))
class TestHalfLines:
    def test_densities_integrate_to_one(self, prior, family, end, way):
        head = family(prior, 4)
        # Evenly in the logarithm of the distance from the end, where log-normals are wide.
        logs = torch.linspace(-60.0, 30.0, 400_001, dtype=torch.float64)
        distance = logs.exp()
        values = (end + way * distance).float()
        # Distances that are lost in rounding are counted at the end itself.
        # Some half-lines do not count their end.
        with pyro.validation_enabled(False):
            posterior = head(torch.randn(1, 4))
            density = posterior.expand((len(values),)).log_prob(values).double().exp()
        assert torch.trapezoid(density * distance, logs).item() == pytest.approx(1.0, abs=5e-3)

    def test_draws_follow_their_density(self, prior, family, end, way):
        """By quantiles: each holds as many draws as its density says, as far as chance allows."""
        torch.manual_seed(0)
        with pyro.validation_enabled(False):
            posterior = family(prior, 4)(torch.randn(1, 4))
        draws = (way * (posterior.sample((20_000,)).squeeze(-1) - end)).double()
        assert (draws >= 0).all()
        logs = torch.linspace(-60.0, 30.0, 400_001, dtype=torch.float64)
        distance = logs.exp()
        values = (end + way * distance).float()
        with pyro.validation_enabled(False):
            density = posterior.expand((len(values),)).log_prob(values).double().exp() * distance
        below = torch.cumulative_trapezoid(density, logs)
        for share in (0.1, 0.5, 0.9):
            place = distance[1:][(below - share).abs().argmin()]
            error = math.sqrt(share * (1 - share) / len(draws))
            assert abs((draws <= place).double().mean().item() - share) <= 4 * error + 2e-3

    def test_it_is_finite_at_the_end_and_has_no_density_beyond(self, prior, family, end, way):
        head = family(prior, 4)
        for size in (1.0, 100.0, 1e4):
            head.zero_grad()
            with pyro.validation_enabled(False):
                posterior = head(size * torch.randn(300, 4))
                score = posterior.log_prob(end.expand(300))
                beyond = posterior.log_prob((end - way).expand(300))
            assert (beyond == -math.inf).all()
            assert score.isfinite().all()
            score.sum().backward()
            assert all(p.grad.isfinite().all() for p in head.parameters())


@pytest.mark.parametrize(("loc", "scale"), [(0.5, 1.0), (-4.0, 0.5), (30.0, 2.0)])
def test_a_normal_with_one_end_agrees_with_scipy(loc, scale):
    for low, high in ((0.0, math.inf), (-math.inf, 0.0)):
        cut = TruncatedNormalDistribution(torch.tensor(loc), torch.tensor(scale), low, high)
        truth = scipy.stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)
        values = torch.linspace(0.0, 3.0, 7) * (1 if high else -1)
        torch.testing.assert_close(
            cut.log_prob(values).double(),
            torch.as_tensor(truth.logpdf(values.double())),
            atol=1e-3,
            rtol=1e-4,
        )
        draws = cut.sample((20_000,))
        error = truth.std() / len(draws) ** 0.5
        assert abs(draws.mean().item() - truth.mean()) <= 4 * error + 1e-6


def test_a_normal_far_past_its_end_has_all_its_digits():
    """However small the floor: an exponential, to within what is left of the normal."""
    head = families.TruncatedNormal(dist.Exponential(1.0), 4, floor=1e-3)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([-40.0, -30.0]))
    posterior = head(torch.zeros(1, 4))
    values = torch.tensor([0.0, 1e-8, 1e-7])
    # 29 deviations of the prior below its end, of 0.001 each.
    truth = scipy.stats.expon.logpdf(values.double(), scale=1e-6 / 29)
    score = posterior.log_prob(values).double()
    torch.testing.assert_close(score, torch.as_tensor(truth), atol=1e-3, rtol=1e-3)
    score.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    draws = posterior.sample((20_000,))
    assert draws.mean().item() == pytest.approx(1e-6 / 29, rel=4 / 20_000**0.5)


def test_a_log_normal_agrees_with_scipy():
    """As scipy knows it, whatever the place and scale of the prior."""
    head = families.LogNormal(dist.LogNormal(1.0, 2.0), 4, floor=QUARTER)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.3, -50.0]))
    # Found by draws of the prior.
    loc, scale = head.centre.item(), head.scale.item()
    assert loc == pytest.approx(1.0, abs=4 * 2.0 / 100)
    assert scale == pytest.approx(2.0, abs=4 * 2.0 / 141)
    values = torch.tensor([1e-3, 0.5, 3.0, 1e3])
    truth = scipy.stats.lognorm.logpdf(
        values.double(), QUARTER * scale, scale=math.exp(loc + 0.3 * scale)
    )
    found = head(torch.zeros(1, 4)).log_prob(values).double()
    torch.testing.assert_close(found, torch.as_tensor(truth), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("ends", [(0, math.inf), (-math.inf, math.inf), (0, 6), (-math.inf, 2)])
def test_a_rounded_logistic_agrees_with_scipy(ends):
    """Differences of its distribution function, the tails at the ends; and so do its draws."""
    low, high = ends
    loc, scale = 1.7, 0.6
    rounded = DiscretizedLogisticDistribution(torch.tensor(loc), torch.tensor(scale), low, high)
    numbers = torch.arange(max(low, -20.0), min(high, 30.0) + 1)
    below, above = (
        scipy.stats.logistic.cdf(numbers.double() + half, loc, scale) for half in (-0.5, 0.5)
    )
    below[numbers == low], above[numbers == high] = 0.0, 1.0
    truth = torch.as_tensor(above - below)
    chances = rounded.log_prob(numbers).double().exp()
    torch.testing.assert_close(chances, truth, atol=1e-7, rtol=1e-4)
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-5)
    draws = rounded.sample((20_000,))
    assert rounded.support.check(draws).all()
    for number, chance in zip(numbers, truth, strict=True):
        error = math.sqrt(chance * (1 - chance) / len(draws))
        assert abs((draws == number).double().mean() - chance) <= 4.5 * error + 1e-4


def test_a_rounded_logistic_keeps_its_digits():
    """Far out and as narrow as it gets; and says nothing of what is no count."""
    narrow = DiscretizedLogisticDistribution(torch.tensor(5.0), torch.tensor(0.1), 0, math.inf)
    score = narrow.log_prob(torch.tensor([5.0, 4.0, 205.0]))
    assert score[0].exp().item() == pytest.approx(math.tanh(2.5), abs=1e-5)
    assert score[1].item() == pytest.approx(-5.0, abs=0.01)
    assert score[2].item() == pytest.approx(-1995.0, abs=0.01)
    wide = DiscretizedLogisticDistribution(torch.tensor(5.0), torch.tensor(1e6), 0, math.inf)
    assert wide.log_prob(torch.tensor(5.0)).isfinite()
    with pyro.validation_enabled(False):
        assert (narrow.log_prob(torch.tensor([-1.0, 2.5])) == -math.inf).all()


@pytest.mark.parametrize(
    "prior",
    [dist.Gamma(0.1, 1.0), dist.Weibull(1.0, 0.3), dist.LogNormal(0.0, 5.0), dist.HalfCauchy(1.0)],
    ids=str,
)
def test_a_log_normal_of_numbers_near_the_end_is_no_bound_above_0(prior):
    """Fitted as closely as it can be to draws, some of which float32 hardly tells from 0."""
    torch.manual_seed(0)
    head, features = families.LogNormal(prior, 4), torch.zeros(1, 4)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        (-head(features).log_prob(prior.sample((512, 1))).mean()).backward()
        optimiser.step()
    values = prior.sample((20_000, 1))
    with torch.no_grad():
        score = head(features).log_prob(values).flatten() - log_prob(prior, values).flatten()
    assert score.mean() <= 4 * score.std() / 20_000**0.5


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_a_direction_is_scored_on_every_side(dimensions):
    """Against quadrature along the ray, and with a gradient that lets go of a wrong direction."""
    prior = dist.ProjectedNormal(torch.zeros(dimensions))
    head = families.ProjectedNormal(prior, 4)
    nn.init.zeros_(head.linear.weight)
    for length in (0.0, 0.5, 3.0, 10.0):
        bias = torch.zeros(dimensions)
        bias[0] = length
        with torch.no_grad():
            head.linear.bias.copy_(bias)
        for angle in (0.0, 1.0, 2.5, math.pi):
            to = torch.zeros(dimensions)
            to[:2] = torch.tensor([math.cos(angle), math.sin(angle)])
            along = length * math.cos(angle)
            peak = max(along, 0.0)

            def ray(x, along=along, peak=peak):
                # Relative to its greatest, which on the far side is next to nothing.
                return x ** (dimensions - 1) * math.exp(
                    (peak - along) ** 2 / 2 - (x - along) ** 2 / 2
                )

            integral, _ = scipy.integrate.quad(ray, 0.0, peak + 40.0, points=[peak + 0.1, peak + 5])
            truth = math.log(integral) - (peak - along) ** 2 / 2
            truth -= (length**2 - along**2) / 2 + dimensions / 2 * math.log(2 * math.pi)
            score = head(torch.zeros(1, 4)).log_prob(to)
            assert score.item() == pytest.approx(truth, abs=2e-4, rel=1e-5)
        head.zero_grad()
        head(torch.zeros(1, 4)).log_prob(to).sum().backward()
        if length:
            # Less sure, since the answer is behind.
            assert head.linear.bias.grad[0] < -0.1


@pytest.mark.parametrize("dimensions", [2, 3])
def test_directions_are_no_finer_than_the_floor(dimensions):
    """About a floor of radians, along each way on the sphere."""
    prior = dist.ProjectedNormal(torch.zeros(dimensions))
    head = families.ProjectedNormal(prior, 4, floor=0.05)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([1e6, 0.0, 0.0][:dimensions]))
    draws = head(torch.randn(1, 4)).sample((20_000,)).squeeze(1)
    angles = torch.atan2(draws[:, 1], draws[:, 0])
    assert angles.std().item() == pytest.approx(0.05, rel=0.03)


def test_a_direction_of_which_nothing_is_known_can_be_learned():
    head = families.ProjectedNormal(dist.ProjectedNormal(torch.zeros(3)), 4)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    features = torch.randn(6, 4, requires_grad=True)
    values = dist.ProjectedNormal(torch.zeros(3)).sample((6,))
    head(features).log_prob(values).sum().backward()
    for value in (features, *head.parameters()):
        assert value.grad.isfinite().all()


def test_an_angle_in_an_interval_is_told_inside_it():
    """Of any turn, as the generator has seen it; a shorter arc by the half turns around it."""
    torch.manual_seed(0)
    for prior in (dist.Uniform(0.0, 2 * math.pi), dist.Uniform(6 * math.pi, 7 * math.pi)):
        head = families.VonMises(prior, 4)
        posterior = head(5 * torch.randn(300, 4))
        angles = torch.cat([posterior.mean, posterior.sample((50,)).flatten()])
        middle = (prior.low + prior.high) / 2
        assert ((angles - middle).abs() <= math.pi + 1e-5).all()
        # A density goes round all the same.
        turned = posterior.mean + 2 * math.pi
        torch.testing.assert_close(
            posterior.log_prob(turned), posterior.log_prob(posterior.mean), atol=1e-3, rtol=1e-4
        )
        wide = posterior.expand((2, 300))
        assert ((wide.sample() - middle).abs() <= math.pi + 1e-5).all()


@pytest.mark.parametrize(
    ("prior", "family"),
    [
        (dist.OneHotCategorical(torch.ones(4)), families.Bernoulli),
        (dist.Multinomial(1, torch.ones(4)), families.Bernoulli),
        (dist.Bernoulli(0.5), families.OneHotCategorical),
        (dist.GeneralizedPareto(*torch.tensor([0.0, 1.0, 0.1])), families.Beta),
        (dist.Exponential(1.0), families.LogitNormal),
        (dist.Normal(0.0, 1.0), families.LogNormal),
        (UNIFORM, families.LogNormal),
        (dist.ProjectedNormal(torch.zeros(3)), families.LogNormal),
        (dist.Dirichlet(torch.ones(3)), families.LogNormal),
        (dist.Poisson(1.0), families.LogNormal),
        (dist.Bernoulli(0.5), families.DiscretizedLogistic),
        (dist.Multinomial(2, torch.ones(3)), families.DiscretizedLogistic),
        (UNIFORM, families.DiscretizedLogistic),
        (dist.ProjectedNormal(torch.zeros(5)), families.ProjectedNormal),
        (dist.ProjectedNormal(torch.zeros(3)), partial(families.ProjectedNormal, floor=1e-3)),
        (dist.Dirichlet(torch.ones(3)), families.ProjectedNormal),
    ],
    ids=str,
)
def test_a_family_of_another_support_is_refused(prior, family):
    with pytest.raises(DeclarationError, match="a prior with support"):
        family(prior, 4)


def test_full_covariance_sees_what_the_factored_normal_cannot():
    """Two numbers of which only the sum is seen: their posterior is correlated."""
    torch.manual_seed(0)
    prior = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    c = prior.sample((4_000,))
    x = c.sum(-1, keepdim=True) + 0.1 * torch.randn(4_000, 1)
    bounds = {}
    for family in (families.Normal, families.MultivariateNormal):
        head = family(prior, 1, floor=0.01)
        optimiser = torch.optim.Adam(head.parameters(), lr=0.05)
        losses = []
        for _ in range(1_000):
            optimiser.zero_grad()
            loss = -head(x).log_prob(c).mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        # Every Q gives a bound: the best one is the tightest.
        bounds[family] = -min(losses) - prior.log_prob(c).mean().item()
    truth = 0.5 * torch.log(torch.tensor(1 + 2 / 0.01)).item()
    error = 4 * (1 / 4_000) ** 0.5 * 2
    assert bounds[families.MultivariateNormal] == pytest.approx(truth, abs=error + 0.05)
    assert bounds[families.Normal] < truth - 1.0


@pytest.mark.parametrize(
    ("prior", "family", "says"),
    [
        (dist.Normal(0.0, 1.0), families.Beta, "an interval"),
        (dist.Normal(0.0, 1.0), families.TruncatedNormal, "an interval"),
        (UNIFORM, families.MultivariateNormal, "vector code"),
    ],
)
def test_families_refuse_supports_they_cannot_cover(prior, family, says):
    with pytest.raises(DeclarationError, match=says):
        InfoGAN({"code": prior}, (1, 8, 8), posterior={"code": family})


@pytest.mark.parametrize(
    "prior",
    [
        dist.Multinomial(3, torch.ones(3)),
        dist.LKJCholesky(2),
        dist.MixtureSameFamily(COMPONENTS, dist.Categorical(torch.ones(2, 3))),
        dist.MixtureSameFamily(COMPONENTS, dist.Poisson(torch.ones(2, 3)).to_event(1)),
    ],
    ids=lambda prior: str(prior)[:20],
)
def test_uncovered_supports_are_refused_by_name(prior):
    with pytest.raises(DeclarationError, match=r"code 'odd'.*support.*posterior="):
        InfoGAN({"odd": prior}, (1, 8, 8))


def test_the_normals_scale_has_its_floor_in_the_priors_units():
    head = families.Normal(dist.Uniform(0.0, 360.0), 4, floor=0.25)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.0, -50.0]))
    posterior = head(torch.randn(2, 4))
    torch.testing.assert_close(posterior.scale, torch.full((2,), 0.25 * 180.0))
    torch.testing.assert_close(posterior.loc, torch.full((2,), 180.0))


DEGREES, QUARTER = dist.Uniform(0.0, 360.0), 0.25
PEAK = 1 / math.sqrt(2 * math.pi) / QUARTER


@pytest.mark.parametrize(
    ("family", "prior", "raw", "peak"),
    [
        (families.Normal, DEGREES, [0, -50], PEAK / 180),
        (families.Laplace, DEGREES, [0, -50], 0.5 / QUARTER / 180),
        # Of two degrees of freedom.
        (families.StudentT, DEGREES, [0, -50, 0], 1 / math.sqrt(8) / QUARTER / 180),
        (families.MixtureOfNormals, DEGREES, [0] * 6 + [-50] * 3, PEAK / 180),
        (
            families.MultivariateNormal,
            DEGREES.expand([2]).to_event(1),
            [0, -50, 0, 0, 0, -50],
            (PEAK / 180) ** 2,
        ),
        # Both concentrations are half of 1/floor².
        (families.Beta, DEGREES, [0, 50], scipy.stats.beta(8, 8).pdf(0.5) / 360),
        # The logistic function's slope is at most a quarter.
        (families.LogitNormal, DEGREES, [0, -50], PEAK * 4 / 360),
        (
            families.TruncatedNormal,
            DEGREES,
            [0, -50],
            scipy.stats.truncnorm(-1 / QUARTER, 1 / QUARTER, 0, QUARTER).pdf(0) / 180,
        ),
    ],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_no_density_is_higher_than_the_floor_allows(family, prior, raw, peak):
    """As narrow as it gets, in the prior's units; without a floor L_I would have no bound."""
    head = family(prior, 4, floor=QUARTER)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor(raw))
    middle = torch.full((1, *prior.event_shape), 180.0)
    density = head(torch.randn(1, 4)).log_prob(middle).exp()
    assert density.item() == pytest.approx(peak, rel=1e-4)


@pytest.mark.parametrize(
    "family",
    [
        families.Normal,
        families.FixedNormal,
        families.Laplace,
        families.StudentT,
        families.MixtureOfNormals,
        families.MultivariateNormal,
    ],
    ids=lambda x: x.__name__,
)
def test_a_family_is_the_same_in_the_units_of_every_prior(family):
    """Of numbers with other centres and scales: the affine image of that on a standard normal."""
    centre, scale = torch.tensor([0.0, 50.0, -7.0]), torch.tensor([1.0, 100.0, 0.1])
    standard = family(dist.Normal(torch.zeros(3), 1.0).to_event(1), 4)
    other = family(dist.Normal(centre, scale).to_event(1), 4)
    other.linear.load_state_dict(standard.linear.state_dict())
    features, value = torch.randn(20, 4), torch.randn(20, 3)
    moved = other(features).log_prob(centre + scale * value)
    expected = standard(features).log_prob(value) - scale.log().sum()
    torch.testing.assert_close(moved, expected, atol=1e-3, rtol=1e-4)


def test_the_heaviest_tails_are_a_cauchys():
    """One degree of freedom, however few are asked for."""
    head = families.StudentT(UNIFORM, 4, floor=QUARTER)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([0.0, 0.0, -50.0]))
    values = torch.tensor([-1.0, 0.0, 0.5, 30.0, 1e4])
    truth = dist.Cauchy(0.0, 1.0 + QUARTER).log_prob(values)
    torch.testing.assert_close(head(torch.randn(1, 4)).log_prob(values), truth)


def test_an_angle_of_which_nothing_is_known_can_be_learned():
    """At the origin an angle has no direction to go, and a length no slope."""
    head = families.VonMises(dist.VonMises(0.0, 1.0), 4)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    features = torch.randn(6, 4, requires_grad=True)
    head(features).log_prob(torch.linspace(-3.0, 3.0, 6)).sum().backward()
    for value in (features, *head.parameters()):
        assert value.grad.isfinite().all()


@pytest.mark.parametrize("side", [-1, 1])
def test_a_cut_normal_goes_no_further_than_thirty_half_widths(side):
    """However far its mean is asked to be, where float32 would have lost the interval."""
    head = families.TruncatedNormal(UNIFORM, 4, floor=QUARTER)
    nn.init.zeros_(head.linear.weight)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([side * 1e6, 0.0]))
    values = torch.tensor([-1.0, -0.3, 0.0, 0.8, 1.0])
    loc, scale = side * 30.0, 1.0 + QUARTER
    ends = (-1 - loc) / scale, (1 - loc) / scale
    truth = scipy.stats.truncnorm.logpdf(values.double(), *ends, loc, scale)
    found = head(torch.randn(1, 4)).log_prob(values).double()
    torch.testing.assert_close(found, torch.as_tensor(truth), atol=1e-4, rtol=1e-4)


def test_a_runaway_scale_stays_finite():
    head = families.Normal(UNIFORM, 4)
    with torch.no_grad():
        head.linear.bias.fill_(1e4)
    assert head(torch.zeros(2, 4)).log_prob(torch.zeros(2)).isfinite().all()


def test_a_family_is_a_function_of_a_few_lines():
    class Laplace(nn.Module):
        def __init__(self, features):
            super().__init__()
            self.linear = nn.Linear(features, 2)

        def forward(self, features):
            loc, scale = self.linear(features).unbind(-1)
            return dist.Laplace(loc, scale.exp())

    gan = InfoGAN({"c": UNIFORM}, (1, 8, 8), posterior={"c": lambda prior, n: Laplace(n)})
    assert isinstance(gan.infer(torch.rand(3, 1, 8, 8))["c"], dist.Laplace)


class Lies(nn.Module):
    """A family whose distribution is whatever it is given."""

    def __init__(self, distribution):
        super().__init__()
        self.distribution = distribution

    def forward(self, features):
        return self.distribution


@pytest.mark.parametrize(
    ("prior", "family", "says"),
    [
        # A categorical head on a one-hot prior would broadcast silently where n = K.
        (dist.OneHotCategorical(torch.ones(2)), families.Categorical, "categories"),
        (UNIFORM, families.Categorical, "categories"),
        (UNIFORM, families.Bernoulli, "booleans"),
        (dist.Categorical(torch.ones(3)), families.Bernoulli, "booleans"),
        (dist.Binomial(4, torch.tensor(0.5)), families.Bernoulli, "booleans"),
        (dist.Uniform(0.0, 360.0), families.VonMises, "angle"),
        (
            dist.Normal(0.0, 1.0),
            lambda prior, n: Lies(dist.LogNormal(torch.zeros(2), 1.0)),
            "covers the prior's",
        ),
        (UNIFORM, lambda prior, n: Lies(dist.Normal(torch.zeros(3), 1.0)), "batch shape"),
        (UNIFORM, lambda prior, n: Lies(torch.zeros(2)), "Pyro distribution"),
        (
            UNIFORM.expand([2]).to_event(1),
            lambda prior, n: Lies(dist.Normal(torch.zeros(2, 2), 1.0)),
            "event shape",
        ),
    ],
)
def test_families_that_do_not_fit_are_refused(prior, family, says):
    with pytest.raises(DeclarationError, match=says):
        InfoGAN({"code": prior}, (1, 8, 8), posterior={"code": family})


def test_a_family_for_no_code_is_refused():
    with pytest.raises(DeclarationError, match="'slnat'"):
        InfoGAN({"slant": UNIFORM}, (1, 8, 8), posterior={"slnat": families.Normal})


def test_zuko_leaves_validation_on():
    """Importing it turns torch's validation off, for every distribution of the process."""
    code = """
import pyro.distributions as dist, torch
from pyro_infogan import families
families.Zuko(dist.Normal(0.0, 1.0), 4)
try:
    torch.distributions.Normal(0.0, -1.0)
except ValueError:
    print("validated")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "validated"
