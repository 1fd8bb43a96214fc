"""Codes declared as Pyro programs: dependent sites, learned parameters, what is refused."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import transforms
from pyro.nn import PyroModule
from pyro.poutine.runtime import get_plates
from torch import nn

from pyro_infogan import InfoGAN, families, figures, traversal
from pyro_infogan.codes import CodePrior, Marginal, encode, unit
from pyro_infogan.errors import DataError, DeclarationError, RunError
from pyro_infogan.inference import Objective, PriorTerms, Rates, Step, scores
from pyro_infogan.inference.step import Drawn as Batch
from pyro_infogan.models.networks import Pair

CENTRES = torch.tensor([-2.0, 0.0, 4.0])
PROBS = torch.tensor([0.5, 0.3, 0.2])


def dependent():
    """A category, a number that depends on it, and a vector that does not."""
    digit = pyro.sample("digit", dist.Categorical(PROBS))
    pyro.sample("slant", dist.Normal(CENTRES[digit], 0.5))
    pyro.sample("style", dist.Uniform(-1.0, 1.0).expand([2]).to_event(1))


class Learned(nn.Module):
    """Categories and a number whose parameters are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.5, 0.0, -0.5]))
        self.centre = nn.Parameter(torch.tensor(0.3))

    def forward(self):
        pyro.sample("digit", dist.Categorical(logits=self.logits))
        pyro.sample("slant", dist.Normal(self.centre, 0.5))


def test_draws_and_scores_are_the_programs():
    prior = CodePrior(dependent)
    values = prior.draw(5_000)
    assert {name: value.shape for name, value in values.items()} == {
        "digit": (5_000,),
        "slant": (5_000,),
        "style": (5_000, 2),
    }
    conditional = dist.Normal(CENTRES[values["digit"]], 0.5)
    residual = values["slant"] - CENTRES[values["digit"]]
    assert abs(residual.mean().item()) <= 4 * 0.5 / math.sqrt(5_000)
    log_p = prior.log_prob(values)
    torch.testing.assert_close(log_p["digit"], PROBS.log()[values["digit"]])
    torch.testing.assert_close(log_p["slant"], conditional.log_prob(values["slant"]))
    torch.testing.assert_close(log_p["style"], torch.full((5_000,), -2 * math.log(2)))


def test_codes_that_depend_on_a_held_one_are_drawn_given_it(monkeypatch):
    """In ``generate`` as under ``poutine.do``: p(slant | digit), not p(slant)."""
    gan = InfoGAN(dependent, (1, 8, 8), noise=2)
    seen = []
    decode = gan.decode
    monkeypatch.setattr(
        gan, "decode", lambda noise, codes: seen.append(codes) or decode(noise, codes)
    )
    for digit in range(len(CENTRES)):
        seen.clear()
        gan.generate(1_000, codes={"digit": digit})
        slant = torch.cat([codes["slant"] for codes in seen])
        assert abs(slant.mean() - CENTRES[digit]) <= 4 * 0.5 / math.sqrt(len(slant))
        seen.clear()
        poutine.do(gan.model, {"digit": torch.tensor(digit)})(1_000)
        assert abs(seen[0]["slant"].mean() - CENTRES[digit]) <= 4 * 0.5 / math.sqrt(1_000)
    # What comes before a held code does not depend on it.
    seen.clear()
    gan.generate(1_000, codes={"slant": 3.0})
    digits = torch.cat([codes["digit"] for codes in seen])
    share = digits.bincount(minlength=len(PROBS)) / len(digits)
    assert ((share - PROBS).abs() <= 4 * (PROBS * (1 - PROBS) / len(digits)).sqrt()).all()


def spread_normal():
    spread = pyro.sample("spread", dist.Uniform(0.1, 1.0))
    pyro.sample("style", dist.Normal(0.0, spread))


def spread_switch():
    spread = pyro.sample("spread", dist.Beta(2.0, 2.0))
    pyro.sample("style", dist.Bernoulli(spread))


def spread_matrix():
    """Without validation too there is none of a negative variance."""
    spread = pyro.sample("spread", dist.LogNormal(0.0, 1.0))
    variance = spread[..., None, None] * torch.eye(2)
    pyro.sample("style", dist.MultivariateNormal(torch.zeros(2), variance))


@pytest.mark.parametrize("program", [spread_normal, spread_switch, spread_matrix])
def test_a_held_code_may_leave_those_after_it_without_a_distribution(program):
    """Outside its support; where all are held nothing is drawn, and nothing is wrong."""
    gan = InfoGAN(program, (1, 8, 8), noise=2, posterior={"spread": families.Normal}).eval()
    assert gan.generate(3, {"spread": 0.5}).shape == (3, 1, 8, 8)
    with pytest.raises(DataError, match=r"'spread': got some outside .* given which 'style' has"):
        gan.generate(3, {"spread": torch.tensor([0.5, -0.2, 0.5])})
    noise, drawn = gan.draw(3)
    held = {"style": drawn["style"], "spread": torch.full((3,), -0.2)}
    _, codes = gan.draw(3, held)
    assert list(codes) == ["spread", "style"]
    assert all(torch.equal(codes[name], held[name]) for name in held)
    assert gan.generate(3, held, noise).isfinite().all()
    figures.traverse(gan, "spread", rows=2, columns=3, span=(-1.0, 1.0))


def test_values_that_do_not_go_together_are_told_though_each_is_one_of_its_code():
    def ordered():
        low = pyro.sample("low", dist.Uniform(0.0, 2.0))
        high = pyro.sample("high", dist.Uniform(low, 3.0))
        pyro.sample("between", dist.Uniform(low, high))

    prior = CodePrior(ordered)
    assert prior.program.parents == {"low", "high"}
    held = {"low": torch.full((2,), 1.5), "high": torch.full((2,), 1.0)}
    with pytest.raises(DataError, match=r"'low', 'high': got some given which 'between' has no"):
        prior.draw(2, held)


def test_a_program_that_fails_of_itself_is_not_blamed_on_held_codes():
    fails = False

    def program():
        pyro.sample("slant", dist.Normal(0.0, 1.0))
        pyro.sample("style", dist.Normal(0.0, -1.0 if fails else 1.0))

    prior = CodePrior(program)
    fails = True
    with pytest.raises(ValueError, match="scale") as caught:
        prior.draw(2)
    assert not isinstance(caught.value, DataError)


def chain():
    digit = pyro.sample("digit", dist.Categorical(PROBS))
    slant = pyro.sample("slant", dist.Normal(CENTRES[digit], 0.5))
    width = pyro.sample("width", dist.Uniform(-1.0, 1.0))
    # Of width it hears for one digit alone, and each image of its own.
    pyro.sample("style", dist.Normal(torch.where(digit == 1, width, slant), 1.0))
    pyro.sample("alone", dist.Normal(0.0, 1.0).expand([2]).to_event(1))


def test_codes_on_which_others_depend_are_found():
    assert CodePrior(dependent).program.parents == {"digit"}
    assert CodePrior(chain).program.parents == {"digit", "slant", "width"}
    assert CodePrior({"slant": dist.Normal(0.0, 1.0)}).program.parents == set()
    assert CodePrior(Learned()).program.parents == set()


def test_a_code_on_which_others_depend_is_shown_within_the_priors_range():
    prior = CodePrior(chain)
    for name, reach in (("width", 1.0), ("slant", 1.0), ("style", 2.0), ("alone", 2.0)):
        centre, scale = prior.unit(name)
        low, high = prior.shown(name)
        torch.testing.assert_close(low, (centre - reach * scale).expand(low.shape))
        torch.testing.assert_close(high, (centre + reach * scale).expand(high.shape))


def test_a_program_of_independent_codes_is_its_dictionary():
    """One form serves both: the same scores, encodings and entropies."""
    declared = {"digit": dist.Categorical(PROBS), "slant": dist.Uniform(0.0, 4.0)}

    def program():
        for name, prior in declared.items():
            pyro.sample(name, prior)

    one, other = CodePrior(declared), CodePrior(program)
    values = other.draw(50)
    assert one.entropy() == other.entropy()
    for name, value in values.items():
        assert value.shape == one.draw(50)[name].shape
        torch.testing.assert_close(one.log_prob(values)[name], other.log_prob(values)[name])
        torch.testing.assert_close(one.encode(values)[name], other.encode(values)[name])


def test_what_a_program_makes_is_made_where_the_networks_are():
    def program():
        centres = torch.linspace(-1.0, 1.0, 3)
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("slant", dist.Normal(centres[digit], 0.5))
        pyro.sample("width", dist.Uniform(-1.0, 1.0))

    prior = CodePrior(program)
    assert all(name.startswith("_units.") for name in prior.state_dict())
    prior.to("meta")
    # Without values nothing can be validated.
    with torch.no_grad(), pyro.validation_enabled(False):
        values = prior.draw(5)
        with pyro.plate("images", 5):
            sampled = prior()
        scores = prior.log_prob(values)
        encoded = prior.encode(values)
    for every in (values, sampled, scores, encoded):
        assert {value.device.type for value in every.values()} == {"meta"}


@pytest.mark.parametrize("make", [transforms.affine_autoregressive, transforms.spline])
def test_a_flow_that_depends_on_nothing_is_a_code_by_itself(make):
    """Its transform remembers a batch of draws, on which nothing depends."""
    flow = make(2)

    def program():
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        pyro.sample("style", dist.TransformedDistribution(base, [flow]))

    gan = InfoGAN(program, (1, 8, 8), noise=2)
    assert not isinstance(gan.prior.sites["style"], Marginal)
    assert "depends on other codes" not in repr(gan)
    assert gan.generate(3).shape == (3, 1, 8, 8)


def test_a_flow_that_depends_on_another_code_is_told_by_what_it_does():
    """It keeps the other code within a function, not as a tensor."""
    flow = transforms.conditional_affine_autoregressive(2, context_dim=1)

    def program():
        slant = pyro.sample("slant", dist.Normal(0.0, 1.0))
        base = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        given = flow.condition(slant.unsqueeze(-1))
        pyro.sample("style", dist.TransformedDistribution(base, [given]))

    prior = CodePrior(program)
    assert not isinstance(prior.sites["slant"], Marginal)
    assert isinstance(prior.sites["style"], Marginal)
    assert prior.program.parents == {"slant"}


def test_entropy_is_that_of_the_chain_rule():
    prior = CodePrior(dependent)
    entropy = prior.entropy()
    normal = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert entropy["slant"].nats == pytest.approx(normal, rel=1e-5)
    # The conditional's entropy is the same for each digit: nothing is estimated.
    assert entropy["slant"].error == 0.0
    assert entropy["digit"].nats == pytest.approx(-(PROBS * PROBS.log()).sum().item(), rel=1e-5)


# Scales, and what float32 rounds off each of the entropies beside their spread.
@pytest.mark.parametrize(
    ("scales", "rounded"), [([0.1, 1.0, 10.0], 0.0), ([1.0, 1.0025, 1.005], 2e-7)]
)
def test_an_entropy_that_varies_has_its_standard_error(scales, rounded):
    """However little it varies."""
    scales = torch.tensor(scales)

    def program():
        digit = pyro.sample("digit", dist.Categorical(PROBS))
        pyro.sample("slant", dist.Normal(0.0, scales[digit]))

    found = CodePrior(program).entropy()["slant"]
    each = 0.5 * (2 * math.pi * math.e * scales.double() ** 2).log()
    truth = (PROBS * each).sum().item()
    spread = (PROBS * (each - truth) ** 2).sum().sqrt().item()
    assert found.error == pytest.approx(spread / math.sqrt(100_000), rel=0.02)
    assert abs(found.nats - truth) <= 4 * found.error + rounded


def test_a_dependent_code_is_encoded_by_its_marginal():
    prior = CodePrior(dependent)
    marginal = prior.sites["slant"]
    assert isinstance(marginal, Marginal)
    mean = (PROBS * CENTRES).sum()
    variance = (PROBS * CENTRES**2).sum() - mean**2 + 0.25
    centre, scale = unit(marginal)
    # 2,000 draws of the digit.
    assert abs(centre - mean) <= 4 * (variance / 2_000) ** 0.5
    assert scale == pytest.approx(variance.sqrt().item(), rel=0.1)
    torch.testing.assert_close(encode(marginal, mean)[0], (mean - centre) / scale)
    draws = marginal.sample((3, 4_000))
    assert draws.shape == (3, 4_000)
    assert draws.std().item() == pytest.approx(scale.item(), rel=0.05)
    # The density of the mixture integrates to one.
    grid = torch.linspace(-6.0, 8.0, 2_001)
    assert torch.trapezoid(marginal.log_prob(grid).exp(), grid).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("conditional", "check"),
    [
        (lambda d: dist.Uniform(0.0, 1.0 + d), lambda p: p.support.upper_bound == 3.0),
        (
            lambda d: dist.VonMises(1.0 * d, 5.0),
            lambda p: encode(p, torch.zeros(4)).shape == (4, 2),
        ),
        (
            lambda d: dist.Categorical(torch.ones(3, 4)[d] + d.unsqueeze(-1) * torch.arange(4)),
            lambda p: encode(p, torch.zeros(5, dtype=torch.long)).shape == (5, 4),
        ),
        (
            lambda d: dist.Normal(torch.stack([1.0 * d, -1.0 * d], -1), 1.0).to_event(1),
            lambda p: p.event_shape == (2,) and unit(p)[1].shape == (2,),
        ),
        (lambda d: dist.Bernoulli((1.0 + d) / 4), lambda p: p.support.is_discrete),
        (
            lambda d: dist.Dirichlet(1.0 + torch.ones(3, 3)[d] * d.unsqueeze(-1)),
            lambda p: p.event_shape == (3,),
        ),
        (
            lambda d: dist.OneHotCategorical(
                torch.ones(3, 3)[d] + d.unsqueeze(-1) * torch.eye(3)[0]
            ),
            lambda p: p.event_shape == (3,),
        ),
    ],
    ids=["interval", "angle", "categories", "vector", "boolean", "shares", "one-hot"],
)
def test_every_kind_of_code_may_depend_on_another(conditional, check):
    def program():
        digit = pyro.sample("digit", dist.Categorical(PROBS))
        pyro.sample("other", conditional(digit))

    gan = InfoGAN(program, image_shape=(1, 8, 8), noise=2)
    assert check(gan.prior.sites["other"])
    gan.eval()
    images = gan.generate(3)
    assert gan.infer(images)["other"].log_prob(gan.prior.draw(3)["other"]).shape == (3,)
    assert math.isfinite(gan.information(50)["other"].bound)
    assert next(name for name, _, _ in figures.traversals(gan)) == "digit"
    figures.traverse(gan, "other", rows=2, columns=3)


def test_both_routes_score_a_dependent_prior_alike():
    """What a trace of the two programs says is what the direct route says."""
    gan = InfoGAN(dependent, image_shape=(1, 8, 8), noise=2).eval()
    model = poutine.trace(gan.model).get_trace(6)
    codes = {name: model.nodes[name]["value"] for name in gan.prior.sites}
    images = model.nodes["_RETURN"]["value"]
    guide = poutine.trace(poutine.condition(gan.guide, codes)).get_trace(images)
    model.compute_log_prob()
    guide.compute_log_prob()
    direct = scores(gan.prior, gan.posteriors(images), codes)
    for name, score in direct.items():
        traced = guide.nodes[name]["log_prob"] - model.nodes[name]["log_prob"]
        torch.testing.assert_close(score, traced, atol=1e-5, rtol=1e-5)


def sites_that_change():
    if torch.rand(()) < 0.5:
        pyro.sample("extra", dist.Normal(0.0, 1.0))
    pyro.sample("slant", dist.Normal(0.0, 1.0))


def branches():
    digit = pyro.sample("digit", dist.Categorical(PROBS))
    pyro.sample("slant", dist.Normal(0.0, 1.0 if digit == 1 else 2.0))


def store():
    pyro.sample("slant", dist.Normal(pyro.param("centre", torch.zeros(())), 1.0))


class Stored(PyroModule):
    """Its parameters are of Pyro's store, though it is a torch module."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(()))

    def forward(self):
        pyro.sample("slant", dist.Normal(self.centre, 1.0))


def observes():
    pyro.sample("slant", dist.Normal(0.0, 1.0), obs=torch.zeros(()))


def determines():
    pyro.deterministic("twice", 2 * pyro.sample("slant", dist.Normal(0.0, 1.0)))


@poutine.scale(scale=0.5)
def scales():
    pyro.sample("slant", dist.Normal(0.0, 1.0))


def masks():
    with poutine.mask(mask=torch.tensor(True)):
        pyro.sample("slant", dist.Normal(0.0, 1.0))


def plates():
    with pyro.plate("mine", 3, dim=-2):
        pyro.sample("slant", dist.Normal(0.0, 1.0))


def reserved():
    pyro.sample("noise", dist.Normal(0.0, 1.0))


def supportless():
    pyro.sample("slant", dist.Normal(torch.zeros(0), 1.0).to_event(1))


def endless():
    digit = pyro.sample("digit", dist.Categorical(PROBS))
    pyro.sample("angle", dist.VonMises(0.0, (digit + 1) * 1e20))


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (sites_that_change, "same sites"),
        (branches, "torch.where"),
        (store, "nn.Parameter"),
        (Stored(), "not a pyro.nn.PyroModule"),
        (observes, "obs="),
        (determines, "pyro.deterministic"),
        (scales, "poutine.scale"),
        (masks, "poutine.mask"),
        (plates, "one value an image"),
        (reserved, "Rename"),
        (supportless, "at least one number"),
        (endless, "at most 10,000"),
        (lambda: None, "without sample statements"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (3, "dictionary"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)[:20]),
)
def test_bad_programs_are_refused(program, message):
    with pytest.raises(DeclarationError, match=message):
        CodePrior(program)


def test_a_refused_program_leaves_pyros_store_as_it_was():
    with pyro.get_param_store().scope():
        centre = pyro.param("centre", torch.ones(()))
        for program in (store, Stored(), lambda: pyro.param("centre")):
            with pytest.raises(DeclarationError, match="Pyro's store"):
                CodePrior(program)
        assert list(pyro.get_param_store()) == ["centre"]
        assert pyro.param("centre") is centre


# Learned priors


class Bare(nn.Module):
    """A layer without batch norm, so that an image's cost depends on that image alone."""

    def __init__(self, inputs, outputs, shape=None):
        super().__init__()
        self.linear, self.shape = nn.Linear(inputs, outputs), shape

    def forward(self, inputs):
        out = self.linear(inputs.flatten(1))
        return out.sigmoid().unflatten(1, self.shape) if self.shape else out


def bare(image_shape, inputs):
    return Pair(Bare(inputs, 64, image_shape), Bare(64, 8), 8)


def learning(program, **options):
    torch.manual_seed(4)
    gan = InfoGAN(program, (1, 8, 8), noise=0, networks=bare, **options)
    # Batch norm of Q's hidden layer couples images.
    gan.posterior.hidden = nn.Linear(8, 128)
    return gan.train()


def cost(gan, codes):
    """What the generator's step minimises, image by image, from its definition."""
    images = gan.decode(torch.zeros(len(codes["digit"]), 0), codes)
    features = gan.trunk(images)
    posterior = gan.posterior(features)
    scored = scores(gan.prior, posterior, codes)
    info = sum(gan.information_weights[name] * score for name, score in scored.items())
    return -gan.discriminator(features).sigmoid().log().squeeze(-1) - info


def test_the_gradient_of_a_learned_prior_is_that_of_the_expectation():
    """Against Σ p(c) cost(c), which a sum over the categories gives exactly."""

    class Categories(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([1.0, 0.0, -1.0]))

        def forward(self):
            pyro.sample("digit", dist.Categorical(logits=self.logits))

    gan = learning(Categories())
    logits = gan.prior.program.program.logits
    every = {"digit": torch.arange(3)}
    exact = (logits.softmax(0) * cost(gan, every)).sum()
    (truth,) = torch.autograd.grad(exact, logits)
    step = Step(gan, rates=Rates(0.0, 0.0))
    found = []
    for _ in range(400):
        step.update_generator(step.draw(64))
        found.append(logits.grad.clone())
    found = torch.stack(found)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - truth).abs() <= 4 * error).all()
    # The test can tell: the gradient that backpropagation alone gives is another.
    pathwise = -(logits.log_softmax(0).softmax(0) * cost(gan, every).detach()).sum()
    assert (truth.abs() > 8 * error).any(), pathwise


def test_a_batch_of_two_is_enough_for_the_gradient_of_the_expectation():
    """The mean over all batches of two categories is the gradient of Σ p(c) cost(c)."""

    class Coin(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.7, -0.4]))

        def forward(self):
            pyro.sample("digit", dist.Categorical(logits=self.logits))

    gan = learning(Coin())
    logits = gan.prior.program.program.logits
    every = {"digit": torch.arange(2)}
    (truth,) = torch.autograd.grad((logits.softmax(0) * cost(gan, every)).sum(), logits)
    step = Step(gan, rates=Rates(0.0, 0.0))
    mean = torch.zeros(2)
    for first, second in ((0, 0), (0, 1), (1, 0), (1, 1)):
        codes = {"digit": torch.tensor([first, second])}
        step.update_generator(Batch(codes, gan.decode(torch.zeros(2, 0), codes)))
        mean += logits.detach().softmax(0)[codes["digit"]].prod() * logits.grad
    torch.testing.assert_close(mean, truth, atol=1e-6, rtol=1e-4)


def test_a_reparameterised_prior_gets_its_gradient_by_backpropagation():
    gan = learning(Learned(), information_weights={"digit": 0.0})
    program = gan.prior.program.program
    step = Step(gan, rates=Rates(0.0, 0.0))
    found = []
    for _ in range(400):
        step.update_generator(step.draw(64))
        found.append(program.centre.grad.clone())
    found = torch.stack(found)

    # By quadrature over both codes.
    grid = torch.linspace(-2.5, 2.5, 401)
    digit = torch.arange(3).repeat_interleave(401)
    values = {"digit": digit, "slant": 0.3 + grid.repeat(3)}

    def expected(centre):
        moved = values | {"slant": values["slant"] + (centre - 0.3)}
        weight = dist.Normal(0.0, 0.5).log_prob(grid).exp().repeat(3) * (grid[1] - grid[0])
        with torch.no_grad():
            program.centre.fill_(centre)
            total = (program.logits.softmax(0)[digit] * weight * cost(gan, moved)).sum()
            program.centre.fill_(0.3)
        return total.item()

    truth = (expected(0.4) - expected(0.2)) / 0.2
    error = found.std().item() / math.sqrt(len(found))
    assert abs(found.mean().item() - truth) <= 4 * error + 1e-3
    assert abs(truth) > 4 * error


def test_a_learned_prior_moves_in_its_own_update_alone():
    gan = InfoGAN(Learned(), (1, 8, 8), noise=2).train()
    step = Step(gan)
    real = torch.rand(8, 1, 8, 8)
    before = {name: value.clone() for name, value in gan.prior.named_parameters()}
    assert len(before) == 2
    step.update_discriminator(real, step.draw(len(real)))
    step.update_generator(step.draw(8))
    others = {name: value.clone() for name, value in gan.generator.named_parameters()}
    for name, value in gan.prior.named_parameters():
        assert torch.equal(value, before[name])
    step.update_prior(real)
    for name, value in gan.generator.named_parameters():
        assert torch.equal(value, others[name])
    for name, value in gan.prior.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_a_learned_prior_goes_by_the_game_alone_where_the_bound_stays_out():
    """With L_I kept out of the generator the prior's gradient does not feel λ."""

    def gradient(weight):
        gan = learning(Learned(), information_weights={"digit": weight, "slant": weight})
        step = Step(gan, Objective(info_updates_generator=False), Rates(0.0, 0.0))
        torch.manual_seed(0)
        step.update_generator(step.draw(64))
        return gan.prior.program.program.logits.grad

    torch.testing.assert_close(gradient(0.1), gradient(10.0))


def test_the_entropy_of_a_learned_prior_is_the_present_one():
    gan = InfoGAN(Learned(), (1, 8, 8), noise=2)
    before = gan.entropies["digit"]
    scale = unit(gan.prior.sites["slant"])
    with torch.no_grad():
        gan.prior.program.program.logits.zero_()
        gan.prior.program.program.centre.fill_(5.0)
    assert before < gan.entropies["digit"] == pytest.approx(math.log(3))
    # The encoding keeps its scale, or a prior could not learn to move.
    assert gan.prior.unit("slant") == unit(gan.prior.sites["slant"]) == scale
    # What is told of the prior is the present one.
    assert gan.prior.present()["slant"].mean == 5.0
    assert "loc 5" in repr(gan)


class Drawn(nn.Module):
    """A prior whose first numbers are drawn anew each time that it is built."""

    def __init__(self):
        super().__init__()
        self.centres, self.far = nn.Parameter(3 * torch.randn(3)), nn.Parameter(torch.randn(()))

    def forward(self):
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("slant", dist.Normal(self.centres[digit], 1.0))
        pyro.sample("width", dist.Normal(self.far, 1.0))


def test_a_prior_that_begins_at_random_is_loaded_as_it_was_declared(tmp_path):
    """Its encodings and Q's units are those of its first numbers, which a checkpoint holds."""
    gan, again = (InfoGAN(Drawn(), (1, 8, 8), noise=2).eval() for _ in range(2))
    assert gan.prior.unit("slant") != again.prior.unit("slant")
    gan.save(tmp_path / "gan.pt")
    again.restore(tmp_path / "gan.pt")
    noise, codes = gan.draw(20)
    with torch.no_grad():
        images = gan.decode(noise, codes)
        torch.testing.assert_close(again.decode(noise, codes), images)
        for key, q in gan.infer(images).items():
            torch.testing.assert_close(again.infer(images)[key].mean, q.mean, equal_nan=True)
    torch.testing.assert_close(again.prior.shown("slant"), gan.prior.shown("slant"))


def test_counts_that_end_at_different_numbers_are_told_up_to_the_greatest():
    def counts():
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("count", dist.Binomial(digit.float() + 1, torch.tensor(0.5)))

    gan = InfoGAN(counts, (1, 8, 8), noise=2).eval()
    assert gan.prior.sites["count"].enumerate_support().tolist() == [0.0, 1.0, 2.0, 3.0]
    values, labels = traversal.values_of(gan, "count")
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert list(labels) == ["0", "1", "2", "3"]
    gan.generate(4, {"count": values})


class Reach(nn.Module):
    """An interval whose ends learn, and one whose ends follow a category."""

    def __init__(self):
        super().__init__()
        self.reach = nn.Parameter(torch.zeros(()))

    def forward(self):
        pyro.sample("wide", dist.Uniform(-self.reach.exp(), self.reach.exp()))
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("known", dist.Uniform(-1.0, 1.0 + digit))
        scale = pyro.sample("scale", dist.HalfCauchy(torch.tensor(1.0)))
        pyro.sample("far", dist.Uniform(-1.0 - scale, 1.0 + scale))


@pytest.mark.parametrize("family", [families.Beta, families.TruncatedNormal, families.Spline])
def test_a_family_inside_an_interval_wants_one_that_stays(family):
    """Outside it such a Q has no density: what it has inside would be more than 1."""

    def build(chosen):
        return InfoGAN(Reach(), (1, 8, 8), noise=2, posterior={"scale": families.Normal} | chosen)

    assert build({"known": family}).prior.moving == {"wide", "far"}
    for key in ("wide", "far", ("wide", "known")):
        with pytest.raises(DeclarationError, match="without ends"):
            build({key: family})


class Began(nn.Module):
    """Half-lines whose end learns, or follows a number; and one that always begins at 0."""

    def __init__(self):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(()))

    def forward(self):
        pyro.sample("learned", dist.Pareto(self.start.exp(), torch.tensor(3.0)))
        shape = pyro.sample("shape", dist.Gamma(torch.tensor(5.0), torch.tensor(1.0)))
        pyro.sample("after", dist.Pareto(1.0 + shape, torch.tensor(3.0)))
        pyro.sample("fixed", dist.Gamma(1.0 + shape, torch.tensor(1.0)))
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("known", dist.Pareto(1.0 + digit, torch.tensor(3.0)))


@pytest.mark.parametrize("family", [families.LogNormal, families.TruncatedNormal])
def test_a_family_on_a_half_line_wants_one_that_stays(family):
    gan = InfoGAN(Began(), (1, 8, 8), noise=2, posterior={"fixed": family, "known": family})
    assert gan.prior.moving == {"learned", "after"}
    assert gan.posterior.families["learned"] is gan.posterior.families["after"] is families.Normal
    # Those of the widest.
    assert gan.prior.sites["known"].support.lower_bound == 1.0
    info = gan.eval().information(200)
    assert all(math.isfinite(found.bound) for found in info.values())
    for name in ("learned", "after"):
        with pytest.raises(DeclarationError, match="without ends"):
            InfoGAN(Began(), (1, 8, 8), noise=2, posterior={name: family})


def test_counts_out_of_counts_have_no_end_that_is_known():
    """More than were ever seen may come, of which a logit for each seen one says nothing."""

    def hits():
        tries = pyro.sample("tries", dist.Geometric(torch.tensor(0.3)))
        pyro.sample("hits", dist.Binomial(tries, torch.tensor(0.9)))

    gan = InfoGAN(hits, (1, 8, 8), noise=2).eval()
    assert gan.prior.moving == {"hits"}
    assert math.isfinite(gan.information(2_000)["hits"].bound)
    # As data that a file holds.
    assert gan.declaration()["posterior"]["hits"]["keywords"] == {"ends": False}
    for family in (families.Categorical, families.DiscretizedLogistic):
        with pytest.raises(DeclarationError, match="ends=False"):
            InfoGAN(hits, (1, 8, 8), noise=2, posterior={"hits": family})


def test_the_entropy_of_a_learned_prior_is_in_the_metrics():
    gan = learning(Learned())
    step = Step(gan, rates=Rates(0.0, 0.0))
    found = torch.tensor(
        [
            [step.update_generator(step.draw(64))[f"entropy/{name}"] for name in gan.prior.sites]
            for _ in "x" * 50
        ]
    )
    error = found.std(0) / math.sqrt(len(found))
    truth = torch.tensor(list(gan.entropies.values()))
    assert ((found.mean(0) - truth).abs() <= 4 * error).all()
    fixed = InfoGAN({"slant": dist.Normal(0.0, 1.0)}, (1, 8, 8), noise=2).train()
    fixed_step = Step(fixed)
    assert set(fixed_step.update_generator(fixed_step.draw(8))) == {"loss_g"}


def test_a_learned_prior_is_saved_with_the_networks(tmp_path):
    gan = InfoGAN(Learned(), (1, 8, 8), noise=2)
    with torch.no_grad():
        gan.prior.program.program.logits.copy_(torch.tensor([3.0, 2.0, 1.0]))
    gan.save(tmp_path / "gan.pt")
    again = InfoGAN(Learned(), (1, 8, 8), noise=2).restore(tmp_path / "gan.pt")
    assert again.prior.program.program.logits.tolist() == [3.0, 2.0, 1.0]
    with pytest.raises(DeclarationError, match="restore"):
        InfoGAN.load(tmp_path / "gan.pt")
    with pytest.raises(RunError, match="program"):
        InfoGAN(dependent, (1, 8, 8), noise=2).restore(tmp_path / "gan.pt")


def test_straight_through_categories_learn_by_backpropagation():
    class Relaxed(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(3))

        def forward(self):
            pyro.sample("kind", dist.OneHotCategoricalStraightThrough(logits=self.logits))

    gan = InfoGAN(
        Relaxed(), (1, 8, 8), noise=2, posterior={"kind": families.OneHotCategorical}
    ).train()
    codes = gan.prior.draw(5)
    assert codes["kind"].requires_grad
    Step(gan)(torch.rand(8, 1, 8, 8))
    assert gan.prior.program.program.logits.abs().sum() > 0


def test_a_prior_may_answer_to_the_discriminator_alone():
    """With L_I kept out of the prior its gradient is that of the game; the generator's stays."""

    def gradients(weight, objective):
        gan = learning(Learned(), information_weights={"digit": weight, "slant": weight})
        step = Step(gan, objective, Rates(0.0, 0.0))
        torch.manual_seed(0)
        step.update_generator(step.draw(64))
        learned = gan.prior.program.program
        return (
            [learned.logits.grad, learned.centre.grad],
            [value.grad for value in gan.generator.parameters()],
        )

    game, _ = gradients(10.0, Objective(info_updates_generator=False))
    prior, generator = gradients(10.0, Objective(prior=PriorTerms(information=0.0)))
    torch.testing.assert_close(prior, game)
    told, steered = gradients(10.0, Objective())
    torch.testing.assert_close(generator, steered)
    for mine, other in zip(told, game, strict=True):
        assert (mine - other).abs().max() > 1e-3
    half, _ = gradients(10.0, Objective(prior=PriorTerms(information=0.5)))
    between = [torch.lerp(one, other, 0.5) for one, other in zip(game, told, strict=True)]
    torch.testing.assert_close(half, between)
    nothing, _ = gradients(10.0, Objective(prior=PriorTerms(adversarial=0.0, information=0.0)))
    assert all(gradient.abs().max() == 0 for gradient in nothing)
    with pytest.raises(DeclarationError, match="weights of 0 or more"):
        PriorTerms(wake=-1.0)


def test_asking_whether_q_stays_inside_moves_nothing():
    gan = InfoGAN(Learned(), (1, 8, 8), noise=2).train()
    before = copy.deepcopy(gan.state_dict())
    Step(gan, Objective(prior=PriorTerms(wake=1.0)))
    assert all(torch.equal(value, before[name]) for name, value in gan.state_dict().items())
    assert all(part.training for part in gan.modules())


@pytest.mark.parametrize("term", ["adversarial", "information", "wake", "entropy"])
def test_each_term_of_a_prior_counts_by_its_weight(term):
    """A weight four times as large gives a gradient four times as large."""

    def gradients(weight):
        gan = learning(Learned())
        terms = PriorTerms(**{"adversarial": 0.0, "information": 0.0, term: weight})
        step = Step(gan, Objective(prior=terms), Rates(0.0, 0.0, prior=0.0))
        torch.manual_seed(0)
        step(torch.rand(64, 1, 8, 8))
        return torch.cat([value.grad.flatten() for value in gan.prior.parameters()])

    little, much = gradients(0.5), gradients(2.0)
    torch.testing.assert_close(4 * little, much)
    assert much.abs().max() > 1e-3


class Twice(nn.Module):
    """Two numbers, each with a mean and a scale that it learns."""

    def __init__(self):
        super().__init__()
        self.centre, self.log_scale = (nn.Parameter(torch.zeros(2)) for _ in range(2))

    def forward(self):
        for name, *place in zip(("one", "other"), self.centre, self.log_scale.exp(), strict=True):
            pyro.sample(name, dist.Normal(*place))


class Sure(nn.Module):
    """A posterior that has made up its mind."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, features):
        return dist.Normal(features.new_full((len(features),), self.value), 1e-5)


def test_each_of_several_codes_learns_as_it_would_alone():
    """Not by a share of what it is told, as if the codes were averaged."""

    def gradients(update, **terms):
        told = {"one": lambda *_: Sure(3.0), "other": lambda *_: Sure(-1.0)}
        gan = learning(Twice(), posterior=told)
        terms = PriorTerms(adversarial=0.0, information=0.0, **terms)
        step = Step(gan, Objective(prior=terms), Rates(0.0, 0.0, prior=0.0))
        step.optimisers["prior"].zero_grad()
        update(step)
        program = gan.prior.program.program
        return program.centre.grad, program.log_scale.grad

    # The entropy of a normal is log σ and a constant; and −log p(c) is log σ + (c − μ)² / 2σ².
    centre, log_scale = gradients(lambda step: step.update_generator(step.draw(8)), entropy=2.0)
    torch.testing.assert_close(centre, torch.zeros(2))
    torch.testing.assert_close(log_scale, torch.full((2,), -2.0))
    centre, log_scale = gradients(lambda step: step.update_prior(torch.rand(8, 1, 8, 8)), wake=2.0)
    torch.testing.assert_close(centre, torch.tensor([-6.0, 2.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(log_scale, torch.tensor([-16.0, 0.0]), atol=1e-3, rtol=0)


class Shares(nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([1.0, 0.0, -1.0]))

    def forward(self):
        pyro.sample("digit", dist.Categorical(logits=self.logits))


def test_the_entropy_term_has_the_gradient_of_the_entropy():
    gan = learning(Shares())
    logits = gan.prior.program.program.logits
    only = PriorTerms(adversarial=0.0, information=0.0, entropy=2.0)
    step = Step(gan, Objective(prior=only), Rates(0.0, 0.0))
    found = []
    for _ in range(400):
        step.update_generator(step.draw(64))
        found.append(logits.grad.clone())
    found = torch.stack(found)
    (truth,) = torch.autograd.grad(-2.0 * dist.Categorical(logits=logits).entropy(), logits)
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - truth).abs() <= 4 * error).all()
    assert (truth.abs() > 8 * error).any()


def test_the_wake_term_makes_the_prior_what_q_finds_among_real_images():
    """Its gradient is that of the cross entropy of prior and aggregate posterior: p − E q."""
    gan = learning(Shares())
    logits = gan.prior.program.program.logits
    only = PriorTerms(adversarial=0.0, information=0.0, wake=1.0)
    step = Step(gan, Objective(prior=only), Rates(0.0, 0.0, prior=0.0))
    real = torch.rand(64, 1, 8, 8)
    found = []
    for _ in range(400):
        step.optimisers["prior"].zero_grad()
        step.update_prior(real)
        found.append(logits.grad.clone())
    found = torch.stack(found)
    with torch.no_grad():
        read = gan.posterior(gan.trunk(real))["digit"].probs.mean(0)
        truth = logits.softmax(0) - read
    error = found.std(0) / math.sqrt(len(found))
    assert ((found.mean(0) - truth).abs() <= 4 * error).all()
    assert (truth.abs() > 8 * error).any()
    # And nothing else feels it.
    assert all(value.grad is None for value in gan.posterior.parameters())


def test_a_prior_learns_from_real_images_in_the_step():
    gan = learning(Shares())
    program = gan.prior.program.program
    only = PriorTerms(adversarial=0.0, information=0.0, wake=1.0)
    step = Step(gan, Objective(prior=only), Rates(0.0, 0.0, prior=0.05))
    real = torch.rand(64, 1, 8, 8)
    for _ in range(300):
        step(real)
    with torch.no_grad():
        read = gan.posterior(gan.trunk(real))["digit"].probs.mean(0)
    # Adam's last steps are as long as its rate.
    torch.testing.assert_close(program.logits.softmax(0), read, atol=0.06, rtol=0)


def test_a_posterior_that_leaves_the_prior_cannot_teach_it():
    class Reach(nn.Module):
        def __init__(self):
            super().__init__()
            self.high = nn.Parameter(torch.tensor(1.0))

        def forward(self):
            pyro.sample("slant", dist.Uniform(-1.0, self.high))

    gan = InfoGAN(Reach(), (1, 8, 8), noise=2).train()
    with pyro.validation_enabled(True), pytest.raises(DeclarationError, match="slant"):
        Step(gan, Objective(prior=PriorTerms(wake=1.0)))


def test_a_posterior_may_leave_a_prior_that_does_not_learn():
    class Beside(Shares):
        def forward(self):
            super().forward()
            pyro.sample("slant", dist.Uniform(-1.0, 1.0))

    gan = learning(Beside())
    logits = gan.prior.program.program.logits
    only = PriorTerms(adversarial=0.0, information=0.0, wake=1.0)
    with pyro.validation_enabled(True):
        step = Step(gan, Objective(prior=only), Rates(0.0, 0.0, prior=0.05))
    with pyro.validation_enabled(False):
        step(torch.rand(64, 1, 8, 8))
    assert logits.grad.abs().min() > 0
    assert logits.grad.isfinite().all()


class Noisy(nn.Module):
    """A code about the mean of something that is no code."""

    def __init__(self, hidden):
        super().__init__()
        self.hidden = hidden

    def forward(self):
        pyro.sample("slant", dist.Normal(self.hidden(), 0.5))


def of_a_plate(draw):
    return lambda: draw(torch.Size(frame.size for frame in get_plates()))


@pytest.mark.parametrize(
    "hidden",
    [
        of_a_plate(lambda shape: 3.0 * torch.randn(shape)),
        of_a_plate(lambda shape: 0.1 * torch.randn(shape)),
        of_a_plate(lambda shape: dist.Categorical(torch.ones(3)).sample(shape).float()),
    ],
    ids=["wide", "narrow", "categories"],
)
def test_what_a_program_draws_beside_its_codes_is_refused(hidden):
    """The density of a code would be another each time that it is asked for."""
    with pytest.raises(DeclarationError, match="draws something that is no code"):
        InfoGAN(Noisy(hidden), (1, 8, 8), noise=2)


def test_a_hidden_site_is_refused():
    def codes():
        digit = pyro.sample("digit", dist.Categorical(torch.ones(3)))
        pyro.sample("slant", dist.Normal(digit.float(), 0.5))

    with pytest.raises(DeclarationError, match="draws something that is no code"):
        InfoGAN(poutine.block(codes, hide=["digit"]), (1, 8, 8), noise=2)


def test_ends_that_follow_what_cannot_be_tried_whole_are_not_known():
    """A rare category may move an end beyond all that was ever seen, and a count even further."""

    def rare():
        wide = pyro.sample("wide", dist.Categorical(torch.tensor([1 - 1e-6, 1e-6]))).float()
        pyro.sample("slant", dist.Uniform(-1 - 2 * wide, 1 + 2 * wide))

    def counts():
        number = pyro.sample("number", dist.Geometric(torch.tensor(0.3)))
        pyro.sample("slant", dist.Uniform(torch.zeros(()), number + 1))

    def common():
        wide = pyro.sample("wide", dist.Categorical(torch.ones(2))).float()
        pyro.sample("beside", dist.Normal(wide, 1.0))
        pyro.sample("slant", dist.Uniform(-1 - 2 * wide, 1 + 2 * wide))

    assert [CodePrior(codes).moving for codes in (rare, counts, common)] == [
        {"slant"},
        {"slant"},
        frozenset(),
    ]


def test_a_flow_that_remembers_its_own_draws_alone_is_refused_at_once():
    planar = dist.transforms.Planar(2)
    prior = dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0).to_event(1), [planar])
    with pytest.raises(DeclarationError, match="scores its own draws"):
        CodePrior({"c": prior})
