"""Posteriors over several codes at once: one family for them, or a user's guide."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_infogan import InfoGAN, families
from pyro_infogan.codes import CodePrior
from pyro_infogan.errors import DeclarationError
from pyro_infogan.evaluation import channels
from pyro_infogan.inference import Posterior, Step, log_probs

CODES = {
    "digit": dist.Categorical(torch.ones(3)),
    "a": dist.Normal(0.0, 1.0),
    "b": dist.Normal(0.0, 2.0).expand([2]).to_event(1),
}
JOINT = {("a", "b"): families.MultivariateNormal}


class Autoregressive(nn.Module):
    """A guide in which each code depends on the ones before it."""

    def __init__(self, prior, features):
        super().__init__()
        self.digit = nn.Linear(features, 3)
        self.a = nn.Linear(features + 3, 2)
        self.b = nn.Linear(features + 4, 4)

    def forward(self, features):
        digit = pyro.sample("digit", dist.Categorical(logits=self.digit(features)))
        features = torch.cat([features, nn.functional.one_hot(digit, 3)], -1)
        loc, scale = self.a(features).unbind(-1)
        a = pyro.sample("a", dist.Normal(loc, scale.exp() + 0.1))
        loc, scale = self.b(torch.cat([features, a.unsqueeze(-1)], -1)).chunk(2, -1)
        pyro.sample("b", dist.Normal(loc, scale.exp() + 0.1).to_event(1))


@pytest.fixture
def joint():
    return InfoGAN(CODES, (1, 8, 8), noise=2, posterior=JOINT).eval()


@pytest.fixture
def guided():
    return InfoGAN(CODES, (1, 8, 8), noise=2, posterior=Autoregressive).eval()


def test_one_family_for_two_codes(joint):
    images = joint.generate(5)
    posterior = joint.infer(images)
    assert list(posterior) == ["digit", ("a", "b")]
    assert posterior["a", "b"].event_shape == (3,)
    codes = joint.prior.draw(5)
    together = torch.cat([codes["a"].unsqueeze(-1), codes["b"]], -1)
    expected = posterior["a", "b"].log_prob(together)
    torch.testing.assert_close(log_probs(joint.prior, posterior, codes)["a", "b"], expected)
    information = joint.information(50)
    assert information["a", "b"].entropy == pytest.approx(
        1.5 * math.log(2 * math.pi * math.e) + 2 * math.log(2), rel=1e-5
    )
    assert joint.information_weights == {"digit": 1.0, ("a", "b"): 0.1}
    assert "a,b" in repr(joint)


@pytest.mark.parametrize("which", ["joint", "guided"])
def test_the_guide_program_has_every_site_and_the_joint_log_probability(which, request):
    gan = request.getfixturevalue(which)
    images = gan.generate(4)
    trace = poutine.trace(gan.guide).get_trace(images)
    codes = {name: trace.nodes[name]["value"] for name in CODES}
    assert {name: value.shape for name, value in codes.items()} == {
        "digit": (4,),
        "a": (4,),
        "b": (4, 2),
    }
    direct = sum(log_probs(gan.prior, gan.infer(images), codes).values()).sum()
    assert trace.log_prob_sum().item() == pytest.approx(direct.item(), rel=1e-5)
    # Other values too: conditioned, and replayed against the model's.
    others = gan.prior.draw(4)
    conditioned = poutine.trace(poutine.condition(gan.guide, others)).get_trace(images)
    direct = sum(log_probs(gan.prior, gan.infer(images), others).values()).sum()
    assert conditioned.log_prob_sum().item() == pytest.approx(direct.item(), rel=1e-5)


def test_part_of_a_joint_posterior_cannot_be_conditioned_alone(joint):
    images = joint.generate(4)
    with pytest.raises(DeclarationError, match="Condition the others"):
        poutine.condition(joint.guide, {"a": torch.zeros(4)})(images)


def test_part_of_a_guide_can(guided):
    values = poutine.condition(guided.guide, {"a": torch.zeros(4)})(guided.generate(4))
    assert values["a"].abs().sum() == 0


def test_a_guide_is_a_distribution_over_all_codes(guided):
    posterior = guided.infer(guided.generate(4))
    (joint,) = posterior.values()
    draws = joint.sample((2, 3))
    assert draws.shape == (2, 3, 4, 4)
    log_q = joint.log_prob(draws)
    assert log_q.shape == (2, 3, 4)
    codes = guided.prior.split(draws[1, 2], tuple(CODES))
    one = sum(log_probs(guided.prior, posterior, codes).values())
    torch.testing.assert_close(log_q[1, 2], one)
    assert list(guided.information(50)) == list(CODES)


def test_a_factored_posterior_loses_the_total_correlation():
    """Marginals of the exact posterior of x = a + b + N(0, σ²)."""
    noise, n = 0.3, 50_000
    channel, total = channels.correlated_pair(noise), 2 + noise**2
    deviation = math.sqrt(1 - 1 / total)
    factored = channel.bound(n, lambda x: dict.fromkeys("ab", dist.Normal(x / total, deviation)))
    covariance = torch.eye(2) - torch.ones(2, 2) / total
    correlation = 2 * math.log(deviation) - 0.5 * torch.logdet(covariance).item()
    assert correlation > 0.9
    assert abs(factored.bound - (channel.information - correlation)) <= 4 * factored.error


def test_a_box_of_codes_takes_families_of_intervals():
    codes = {"u": dist.Uniform(-1.0, 1.0), "v": dist.Uniform(0.0, 10.0)}
    gan = InfoGAN(codes, (1, 8, 8), posterior={("u", "v"): families.Beta}).eval()
    draws = gan.infer(gan.generate(100))["u", "v"].sample()
    assert (draws[:, 0].abs() <= 1).all()
    assert (draws[:, 1] > 1).any()
    assert ((draws[:, 1] >= 0) & (draws[:, 1] <= 10)).all()


@pytest.mark.parametrize("posterior", [JOINT, Autoregressive])
def test_training_moves_every_weight_of_a_joint_posterior(posterior):
    gan = InfoGAN(CODES, (1, 8, 8), noise=2, posterior=posterior).train()
    before = [value.clone() for value in gan.posterior.parameters()]
    losses = Step(gan)(torch.rand(8, 1, 8, 8))
    for old, new in zip(before, gan.posterior.parameters(), strict=True):
        assert not torch.equal(old, new)
    names = {"info/digit", "info/a,b"} if posterior is JOINT else {f"info/{name}" for name in CODES}
    assert names <= set(losses)


def test_saved_and_loaded(joint, guided, tmp_path):
    joint.save(tmp_path / "joint.pt")
    again = InfoGAN.load(tmp_path / "joint.pt")
    assert again.posterior.keys == joint.posterior.keys
    guided.save(tmp_path / "guided.pt")
    InfoGAN(CODES, (1, 8, 8), noise=2, posterior=Autoregressive).restore(tmp_path / "guided.pt")
    with pytest.raises(DeclarationError, match="Autoregressive"):
        InfoGAN.load(tmp_path / "guided.pt")


class Forgets(Autoregressive):
    def forward(self, features):
        pyro.sample("digit", dist.Categorical(logits=self.digit(features)))


class Adds(Autoregressive):
    def forward(self, features):
        super().forward(features)
        pyro.sample("more", dist.Normal(features[:, 0], 1.0))


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        ({("a", "c"): families.MultivariateNormal}, "'c'"),
        ({("a", "b"): families.MultivariateNormal, "a": families.Normal}, "more than one"),
        ({("a", "a"): families.MultivariateNormal}, "more than one"),
        ({(): families.Normal}, "no codes"),
        ({("digit", "a"): families.MultivariateNormal}, "discrete code"),
        (Forgets, "sample statement for each"),
        (Adds, "more.*and no other"),
        (lambda prior, features: None, "a guide"),
        (families.Normal, "a guide"),
        (3, "a guide"),
    ],
)
def test_bad_joint_posteriors_are_refused(posterior, message):
    with pytest.raises(DeclarationError, match=message):
        InfoGAN(CODES, (1, 8, 8), posterior=posterior)


def test_one_weight_for_codes_scored_together():
    gan = InfoGAN(CODES, (1, 8, 8), posterior=JOINT, information_weights={("a", "b"): 0.5})
    assert gan.information_weights["a", "b"] == 0.5
    with pytest.raises(DeclarationError, match="'a'"):
        InfoGAN(CODES, (1, 8, 8), posterior=JOINT, information_weights={"a": 0.5})


def test_posterior_keeps_the_order_of_the_declaration():
    prior = CodePrior({name: dist.Normal(0.0, 1.0) for name in "abcd"})
    chosen = {("d", "b"): families.MultivariateNormal}
    assert Posterior(prior, nn.Linear(3, 5), 5, chosen).keys == ("a", ("d", "b"), "c")


class TestWhatBoundsNothing:
    """Where the generator ignores the codes there is nothing to know, and no bound above 0."""

    @pytest.mark.parametrize(
        ("prior", "family"),
        [
            (dist.Dirichlet(torch.ones(3)), families.MultivariateNormal),
            (dist.Dirichlet(torch.ones(3)), families.Normal),
            (dist.LKJCholesky(2, torch.tensor(1.0)), families.Normal),
            (dist.LKJ(2, torch.tensor(1.0)), families.Normal),
            (dist.ProjectedNormal(torch.ones(3)), families.MultivariateNormal),
        ],
        ids=lambda each: getattr(each, "__name__", type(each).__name__),
    )
    def test_a_density_over_another_set_is_refused(self, prior, family):
        with pytest.raises(DeclarationError, match="sets of different dimensions"):
            InfoGAN({"c": prior}, (1, 8, 8), noise=2, posterior={"c": family})

    def test_codes_whose_numbers_hold_each_other_have_no_joint_family(self):
        codes = {"mix": dist.Dirichlet(torch.ones(3)), "slant": dist.Uniform(-1.0, 1.0)}
        joint = {("mix", "slant"): families.MultivariateNormal}
        with pytest.raises(DeclarationError, match="'mix', whose numbers hold each other"):
            InfoGAN(codes, (1, 8, 8), noise=2, posterior=joint)

    def test_a_tuple_of_one_is_no_joint(self):
        codes = {"a": dist.Normal(0.0, 1.0), "b": dist.Uniform(-1.0, 1.0)}
        with pytest.raises(DeclarationError, match="Write 'a', without the tuple"):
            InfoGAN(codes, (1, 8, 8), noise=2, posterior={("a",): families.Normal})

    @pytest.mark.parametrize(
        "prior",
        [
            dist.Delta(torch.tensor(1.0)),
            dist.ZeroInflatedDistribution(dist.Normal(0.0, 1.0), gate=torch.tensor(0.5)),
            dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), torch.ones(3)),
            dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), torch.tensor(0.5)),
            dist.LKJCholesky(3),
            dist.TruncatedPolyaGamma(torch.tensor(1.0)),
            dist.SineBivariateVonMises(*torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5])),
        ],
        ids=lambda prior: type(prior).__name__,
    )
    def test_priors_without_a_density_of_their_draws_are_refused(self, prior):
        with pytest.raises(DeclarationError, match=type(prior).__name__):
            InfoGAN({"c": prior}, (1, 8, 8), noise=2)

        def program():
            pyro.sample("c", prior)

        with pytest.raises(DeclarationError, match=type(prior).__name__):
            InfoGAN(program, (1, 8, 8), noise=2)

    def test_counts_with_more_zeros_are_no_such(self):
        InfoGAN(
            {"c": dist.ZeroInflatedPoisson(torch.tensor(2.0), gate=torch.tensor(0.5))},
            (1, 8, 8),
            noise=2,
            posterior={"c": lambda prior, features: Poisson(features)},
        )

    def test_a_masked_family_is_refused(self):
        class Masked(Poisson):
            def forward(self, features):
                return dist.Normal(self.linear(features).squeeze(-1), 1.0).mask(False)

        codes = {"c": dist.Normal(0.0, 1.0)}
        with pytest.raises(DeclarationError, match="masked"):
            InfoGAN(codes, (1, 8, 8), noise=2, posterior={"c": lambda _, width: Masked(width)})

    @pytest.mark.parametrize("how", ["distribution", "handler"])
    def test_a_masked_site_of_a_guide_is_refused(self, how):
        class Masked(nn.Module):
            def forward(self, features):
                normal = dist.Normal(features[:, 0], 1.0)
                if how == "distribution":
                    pyro.sample("c", normal.mask(False))
                else:
                    with poutine.mask(mask=False):
                        pyro.sample("c", normal)

        codes = {"c": dist.Normal(0.0, 1.0)}
        with pytest.raises(DeclarationError, match="masked"):
            InfoGAN(codes, (1, 8, 8), noise=2, posterior=lambda prior, features: Masked())

    def test_a_family_that_cannot_be_drawn_from_is_refused(self):
        class Improper(nn.Module):
            def forward(self, features):
                return dist.ImproperUniform(dist.constraints.real, features.shape[:1], ())

        codes = {"c": dist.Normal(0.0, 1.0)}
        with pytest.raises(DeclarationError, match="cannot be drawn from"):
            InfoGAN(codes, (1, 8, 8), noise=2, posterior={"c": lambda *_: Improper()})


class Poisson(nn.Module):
    """A rate for counts."""

    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features):
        return dist.Poisson(self.linear(features).squeeze(-1).exp())


@pytest.mark.parametrize("held", [("slant",), ("turn",)])
@pytest.mark.parametrize("handler", [poutine.condition, poutine.do])
def test_a_joint_conditioned_in_part_is_refused(held, handler):
    """Also in its last code, after the others were drawn."""
    codes = {"turn": dist.Normal(0.0, 1.0), "slant": dist.Normal(0.0, 1.0)}
    joint = {("turn", "slant"): families.MultivariateNormal}
    gan = InfoGAN(codes, (1, 8, 8), noise=2, posterior=joint).eval()
    guide = handler(gan.guide, dict.fromkeys(held, torch.full((3,), 0.5)))
    with pytest.raises(DeclarationError, match=rf"values for \['{held[0]}'\] alone"):
        guide(torch.rand(3, 1, 8, 8))
