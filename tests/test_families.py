import copy
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_infogan import InfoGAN, families
from pyro_infogan.errors import DeclarationError
from pyro_infogan.inference import parameters

UNIFORM = dist.Uniform(-1.0, 1.0)
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

    def test_samples_have_the_priors_support_where_it_is_discrete(self, prior, family):
        draws = family(prior, 16)(torch.randn(50, 16)).sample()
        if prior.support.is_discrete:
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

    def test_parameters_have_the_batch_in_front(self, prior, family):
        _, values = parameters(family(prior, 16)(torch.randn(6, 16)))
        assert values
        assert all(len(value) == 6 for value in values.values())


@pytest.mark.parametrize(("prior", "family"), PAIRS[:8] + PAIRS[9:], ids=lambda x: str(x)[:60])
def test_the_default_follows_the_support(prior, family):
    assert families.default(prior) is family


@pytest.mark.parametrize(
    "prior",
    [dist.LogNormal(0.0, 1.0), dist.Poisson(3.0), dist.Dirichlet(torch.ones(3))],
    ids=lambda prior: type(prior).__name__,
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
        (UNIFORM, families.Bernoulli, "covers the prior's"),
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
