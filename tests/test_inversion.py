"""Inference beyond Q, against posteriors that are known."""

import json
import math
from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pyro import poutine
from pyro.infer import MCMC, NUTS, TraceEnum_ELBO, config_enumerate, infer_discrete
from pyro.infer.importance import LogWeightsMixin
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from pyro_infogan import InfoGAN, families, inversion
from pyro_infogan.cli import main
from pyro_infogan.codes import support
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.inference import log_probs
from pyro_infogan.inversion import importance, refine
from pyro_infogan.models.networks import Pair
from tests.conftest import small_codes
from tests.test_cli import EXPERIMENT
from tests.test_code_programs import spread_matrix, spread_normal, spread_switch

SHAPE = (1, 8, 8)
PROBS = torch.tensor([0.5, 0.3, 0.2])
CENTRES = torch.tensor([-1.0, 0.0, 1.0])


def test_a_mixture_prior_is_fitted():
    """Its code goes to the peak that an image was made from, where that is far from the other."""
    peaks = dist.Normal(torch.tensor([-2.0, 2.0]), 0.3)
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), peaks)
    gan = InfoGAN({"x": mixture}, SHAPE, noise=2, networks=linear(reach=0.1)).eval()
    made = torch.tensor([-2.0, -2.0, 2.0, 2.0])
    found = refine(gan, gan.generate(4, {"x": made}), scale=0.05)
    assert found.codes["x"].sign().tolist() == made.sign().tolist()


class Linear(nn.Module):
    """G(z, c) = ½ + W (z, c): with normal codes and pixels, every posterior has a closed form.

    Pixels are in [0, 1], which small weights do not leave.
    """

    def __init__(self, inputs, reach):
        super().__init__()
        self.weight = nn.Parameter(reach * torch.randn(inputs, 64))

    def forward(self, inputs):
        return (0.5 + inputs @ self.weight).clamp(0, 1).unflatten(1, SHAPE)


def linear(reach=0.03):
    def networks(shape, inputs):
        trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh())
        return Pair(Linear(inputs, reach), trunk, 32)

    return networks


def curved(shape, inputs):
    """A generator that no linear reader inverts."""
    layers = nn.Sequential(
        nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 64), nn.Sigmoid(), nn.Unflatten(1, shape)
    )
    for layer in (layers[0], layers[2]):
        nn.init.normal_(layer.weight, 0.0, 0.6)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh())
    return Pair(layers, trunk, 64)


def seen(gan, n, scale):
    """Noise, codes, and images with pixels about the generated ones."""
    noise, codes = gan.draw(n)
    images = gan.generate(n, codes, noise)
    return noise, codes, (images + scale * torch.randn_like(images)).clamp(0, 1)


def log_likelihood(images, generated, scale):
    return dist.Normal(generated, scale).log_prob(images).sum((-3, -2, -1))


def exact_categories(gan, images, scale):
    """P(digit | x) where there is nothing else, (n, 3)."""
    generated = gan.generate(3, {"digit": torch.arange(3)})
    joint = PROBS.log() + log_likelihood(images.unsqueeze(1), generated, scale)
    return joint.softmax(-1)


def exact_mixture(gan, images, scale):
    """Log p(x, digit) (n, 3); means (n, 3, 2) and covariance of style, given x and digit."""
    weight = gan.generator.weight.detach()
    flat = images.flatten(1).unsqueeze(1) - 0.5 - weight[:3]
    factor = weight[3:]
    covariance = factor.T @ factor + scale**2 * torch.eye(64)
    evidence = dist.MultivariateNormal(torch.zeros(64), covariance).log_prob(flat)
    precision = factor @ factor.T / scale**2 + torch.eye(2)
    means = torch.linalg.solve(precision, (flat @ factor.T / scale**2).unsqueeze(-1)).squeeze(-1)
    return PROBS.log() + evidence, means, torch.linalg.inv(precision)


@pytest.fixture
def categories():
    return InfoGAN({"digit": dist.Categorical(PROBS)}, SHAPE, noise=0, networks=linear())


@pytest.fixture
def mixture():
    codes = {name: small_codes()[name] for name in ("digit", "style")}
    return InfoGAN(codes, SHAPE, noise=0, networks=linear())


# The observed program


@pytest.mark.parametrize("scale", [0, -0.1, math.nan, math.inf, "0.1", True, None, torch.ones(2)])
def test_bad_scales_are_refused(gan, images, scale):
    for call in (
        lambda: gan.observed(scale),
        lambda: importance(gan, images, scale),
        lambda: refine(gan, images, scale),
    ):
        with pytest.raises(DataError, match=r"scale: got .*a positive number"):
            call()


def test_bad_images_and_counts_are_refused(gan, images):
    program = gan.observed(0.1)
    for call in (program, lambda bad: importance(gan, bad, 0.1), lambda bad: refine(gan, bad, 0.1)):
        for bad in (torch.rand(8, 8), torch.full((2, *SHAPE), 2.0), images[:0], None):
            with pytest.raises(DataError, match="images"):
                call(bad)
    for call in (
        lambda: importance(gan, images, 0.1, draws=0),
        lambda: refine(gan, images, 0.1, 0),
        lambda: refine(gan, images, 0.1, candidates=2.0),
        lambda: refine(gan, images, 0.1, draws=True),
    ):
        with pytest.raises(DataError, match="whole number"):
            call()
    for rate in (0, -1.0, math.nan, "fast", True):
        with pytest.raises(DataError, match="rate"):
            refine(gan, images, 0.1, rate=rate)


def test_no_code_is_named_as_the_site():
    with pytest.raises(DeclarationError, match="'pixels', which the programs use"):
        InfoGAN({"pixels": dist.Uniform(-1.0, 1.0)}, SHAPE)


def test_observed_images_are_scored_about_the_generated_ones(gan, images):
    """In evaluation mode, whatever mode the networks are in, which stays as it is."""
    assert gan.training
    noise, codes = gan.draw(40)
    program = poutine.condition(gan.observed(0.2), {"noise": noise, **codes})
    trace = poutine.trace(program).get_trace(images)
    trace.compute_log_prob()
    expected = log_likelihood(images / 255, gan.generate(40, codes, noise), 0.2)
    torch.testing.assert_close(trace.nodes["pixels"]["log_prob"], expected)
    torch.testing.assert_close(trace.nodes["_RETURN"]["value"], gan.generate(40, codes, noise))
    assert trace.nodes["pixels"]["is_observed"]
    assert all(part.training for part in gan.modules())


def test_values_that_do_not_fit_the_images_are_refused(gan, images):
    for held in (
        {"slant": torch.zeros(40, 1)},
        {"digit": torch.tensor(3)},
        {"noise": torch.ones(3)},
    ):
        with pytest.raises(DataError, match=r"got .* expected"):
            poutine.condition(gan.observed(0.1), held)(images)
    one = poutine.condition(
        gan.observed(0.1), {"digit": torch.tensor(2), "slant": torch.tensor(0.0)}
    )
    assert one(images).shape == (40, *SHAPE)


class Learned(nn.Module):
    """A prior with parameters."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))
        self.centre = nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))

    def forward(self):
        digit = pyro.sample("digit", dist.Categorical(logits=self.logits))
        pyro.sample("slant", dist.Normal(self.centre[digit], 0.3))


def test_no_gradient_reaches_the_weights(images):
    gan = InfoGAN(Learned(), SHAPE, noise=4)
    next(gan.generator.parameters()).requires_grad_(False)
    needed = [weight.requires_grad for weight in gan.parameters()]
    noise = torch.zeros(40, 4, requires_grad=True)
    slant = torch.zeros(40, requires_grad=True)
    program = poutine.condition(gan.observed(0.1), {"noise": noise, "slant": slant})
    trace = poutine.trace(program).get_trace(images)
    trace.log_prob_sum().backward()
    assert noise.grad.abs().sum() > 0
    assert slant.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in gan.parameters())
    assert needed == [weight.requires_grad for weight in gan.parameters()]


def test_enumerated_categories_have_the_exact_posterior():
    """Pyro sums categories out of the program, of two codes at once."""
    codes = {"digit": dist.Categorical(PROBS), "bold": dist.Bernoulli(0.3)}
    gan = InfoGAN(codes, SHAPE, noise=2, networks=linear())
    noise, _, images = seen(gan, 30, 0.2)
    program = poutine.condition(config_enumerate(gan.observed(0.2)), {"noise": noise})
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    marginals = elbo.compute_marginals(program, lambda images: None, images)
    pairs = list(product(range(3), range(2)))
    joint = torch.stack(
        [
            PROBS[digit].log()
            + dist.Bernoulli(0.3).log_prob(torch.tensor(float(bold)))
            + log_likelihood(images, gan.generate(30, {"digit": digit, "bold": bold}, noise), 0.2)
            for digit, bold in pairs
        ],
        -1,
    )
    exact = joint.softmax(-1).unflatten(-1, (3, 2))
    assert 0.05 < exact.sum(-1).amax(-1).min() < 0.95, "the images leave some doubt"
    torch.testing.assert_close(marginals["digit"].probs, exact.sum(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(marginals["bold"].probs, exact.sum(-2)[:, 1], atol=1e-4, rtol=1e-4)
    # The conditioned noise has a density too.
    evidence = joint.logsumexp(-1).sum() - 30 * 2 * math.log(2)
    loss = elbo.loss(program, lambda images: None, images)
    assert loss == pytest.approx(-evidence.item(), rel=1e-4)
    best = infer_discrete(program, first_available_dim=-2, temperature=0)
    trace = poutine.trace(best).get_trace(images)
    found = trace.nodes["digit"]["value"] * 2 + trace.nodes["bold"]["value"]
    assert torch.equal(found.long(), joint.argmax(-1))


# Importance sampling


def test_weights_agree_with_exact_categories(categories):
    *_, images = seen(categories, 25, 0.15)
    found = importance(categories, images, 0.15, draws=4_000)
    exact = exact_categories(categories, images, 0.15)
    assert exact.amax(-1).min() < 0.9, "the images leave some doubt"
    # The standard error of a ratio of means.
    spread = F.one_hot(found.codes["digit"], 3) - exact
    error = (found.weights.unsqueeze(-1) * spread).square().sum(0).sqrt()
    assert ((found.posterior["digit"] - exact).abs() <= 4.5 * error + 1e-6).all()
    assert (found.effective >= 1).all()
    assert (found.effective <= 4_000).all()
    truth = (
        PROBS.log()
        + log_likelihood(
            images.unsqueeze(1), categories.generate(3, {"digit": torch.arange(3)}), 0.15
        )
    ).logsumexp(-1)
    relative = found.log_weights.sub(truth).exp().std(0) / 4_000**0.5
    assert ((found.log_evidence - truth).exp() - 1 <= 4.5 * relative).all()
    torch.testing.assert_close(found.log_evidence, truth, atol=0.2, rtol=0)


def test_weights_agree_with_an_exact_normal(mixture):
    *_, images = seen(mixture, 10, 0.3)
    found = importance(mixture, images, 0.3, draws=5_000)
    joint, means, _ = exact_mixture(mixture, images, 0.3)
    exact = (joint.softmax(-1).unsqueeze(-1) * means).sum(1)
    spread = found.codes["style"] - exact
    error = (found.weights.unsqueeze(-1) * spread).square().sum(0).sqrt()
    assert ((found.posterior["style"] - exact).abs() <= 4.5 * error).all()
    assert error.max() < 0.1


def test_effective_sample_size_is_pyros(gan, images, categories):
    found = importance(gan, images[:3], 5.0, draws=50)
    for index in range(3):
        pyros = LogWeightsMixin()
        pyros.log_weights = found.log_weights[:, index]
        assert found.effective[index].item() == pytest.approx(pyros.get_ESS().item(), rel=1e-4)
        assert 1 < found.effective[index] <= 50
        evidence = pyros.get_log_normalizer().item()
        assert found.log_evidence[index].item() == pytest.approx(evidence, rel=1e-5)
    assert importance(categories, images[:3], 0.01, draws=1).effective.tolist() == [1.0] * 3


def dependent():
    digit = pyro.sample("digit", dist.Categorical(PROBS))
    pyro.sample("slant", dist.Normal(CENTRES[digit], 0.3))
    pyro.sample("style", dist.Normal(0.0, 1.0).expand([2]).to_event(1))


class Chained(nn.Module):
    """A guide in which slant depends on digit."""

    def __init__(self, prior, features):
        super().__init__()
        self.digit = nn.Linear(features, 3)
        self.rest = nn.Linear(features + 3, 3)

    def forward(self, features):
        digit = pyro.sample("digit", dist.Categorical(logits=self.digit(features)))
        chosen = F.one_hot(digit.long(), 3).to(features.dtype)
        batch = torch.broadcast_shapes(features.shape[:-1], chosen.shape[:-1])
        both = [part.expand(*batch, part.shape[-1]) for part in (features, chosen)]
        found = self.rest(torch.cat(both, -1))
        pyro.sample("slant", dist.Normal(found[..., 0], 0.5))
        pyro.sample("style", dist.Normal(found[..., 1:], 0.5).to_event(1))


POSTERIORS = {
    "by code": (small_codes(), {}),
    "inside the interval": (small_codes(), {"slant": families.TruncatedNormal}),
    "joint": (dependent, {("slant", "style"): families.MultivariateNormal}),
    "guide": (dependent, Chained),
}


@pytest.fixture(params=POSTERIORS)
def posed(request):
    codes, posterior = POSTERIORS[request.param]
    return InfoGAN(codes, SHAPE, noise=3, posterior=posterior, networks=linear())


@pytest.mark.parametrize("batch", [7, 1_000])
def test_weights_are_those_of_the_direct_route(posed, batch, monkeypatch):
    """However many draws and images go at once."""
    monkeypatch.setattr(inversion, "BATCH", batch)
    *_, images = seen(posed, 6, 0.2)
    found = importance(posed, images, 0.2, draws=20)
    assert found.noise.shape == (20, 6, 3)
    posteriors = posed.infer(images)
    for draw in range(20):
        codes = {name: value[draw] for name, value in found.codes.items()}
        with torch.no_grad():
            generated = posed.decode(found.noise[draw], codes)
        log_q = torch.stack(list(log_probs(posed.prior, posteriors, codes).values())).sum(0)
        with dist.validation_enabled(False):
            log_p = torch.stack(list(posed.prior.log_prob(codes).values())).sum(0)
        if isinstance(posed.prior.sites["slant"], dist.Uniform):
            log_p = log_p.where(codes["slant"].abs() < 1, -math.inf)
        direct = log_likelihood(images, generated, 0.2) + log_p - log_q
        torch.testing.assert_close(found.log_weights[draw], direct, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "prior",
    # Expanded, a distribution keeps the setting of torch's validation of that time.
    [dist.Uniform(-1.0, 1.0), dist.Uniform(-1.0, 1.0).expand([2]).to_event(1)],
    ids=["number", "vector"],
)
def test_draws_outside_the_prior_weigh_nothing(prior, images):
    gan = InfoGAN({"slant": prior}, SHAPE, noise=2)
    found = importance(gan, images, 0.3, draws=100)
    outside = (found.codes["slant"].abs() > 1).reshape(100, len(images), -1).any(-1)
    assert 0 < outside.float().mean() < 1
    assert (found.weights[outside] == 0).all()
    assert found.posterior["slant"].abs().max() <= 1
    with torch.no_grad():
        gan.posterior.heads[0].linear.bias[0] = 50.0
    with pytest.raises(DataError, match="none inside the prior's support for images"):
        importance(gan, images, 0.3, draws=10)


@pytest.mark.parametrize("program", [spread_normal, spread_switch, spread_matrix])
def test_a_draw_outside_the_support_weighs_nothing_whatever_depends_on_it(program):
    """Given it the other code has no distribution; the other draws are weighed as ever."""
    gan = InfoGAN(
        program, SHAPE, noise=2, networks=linear(), posterior={"spread": families.Normal}
    ).eval()
    *_, images = seen(gan, 4, 0.2)
    found = importance(gan, images, 0.2, draws=200)
    inside = support(gan.prior.sites["spread"]).check(found.codes["spread"])
    assert 0 < inside.float().mean() < 1
    assert (found.log_weights[~inside] == -math.inf).all()
    assert found.log_evidence.isfinite().all()
    draw, image = inside.nonzero().T
    codes = {name: value[draw, image] for name, value in found.codes.items()}
    with torch.no_grad():
        generated = gan.decode(found.noise[draw, image], codes)
    log_q = log_probs(gan.prior, gan.infer(images[image]), codes)
    log_p = gan.prior.log_prob(codes)
    direct = log_likelihood(images[image], generated, 0.2)
    direct = direct + sum(log_p.values()) - sum(log_q.values())
    torch.testing.assert_close(found.log_weights[inside], direct, atol=1e-3, rtol=1e-4)


# Refinement


def test_categories_are_weighed_exactly(mixture):
    *_, images = seen(mixture, 12, 0.2)
    found = refine(mixture, images, 0.2, steps=150, draws=400)
    joint, means, covariance = exact_mixture(mixture, images, 0.2)
    assert joint.softmax(-1).amax(-1).min() < 0.9, "the images leave some doubt"
    order = found.candidates["digit"].argsort(0)
    torch.testing.assert_close(found.log_evidence.gather(0, order).T, joint, atol=0.1, rtol=0)
    torch.testing.assert_close(found.posterior["digit"], joint.softmax(-1), atol=0.05, rtol=0)
    assert torch.equal(found.codes["digit"], found.posterior["digit"].argmax(-1))
    best = means[torch.arange(12), found.codes["digit"]]
    assert ((found.codes["style"] - best).abs() < 0.4 * covariance.diagonal().sqrt()).all()
    assert found.losses.shape == (150,)
    # The ELBO is below the evidence, and not far.
    gap = found.losses[-20:].mean() + found.log_evidence.mean()
    assert -0.2 < gap < 1.0


@pytest.fixture(scope="module")
def read():
    """An InfoGAN with a curved generator and a Q that was fitted to its images, if not to the end.

    Some steps later it mistakes no digit.
    """
    torch.manual_seed(1)
    gan = InfoGAN(small_codes(), SHAPE, noise=2, networks=curved)
    weights = [*gan.trunk.parameters(), *gan.posterior.parameters()]
    optimiser = torch.optim.Adam(weights, lr=3e-3)
    for _ in range(10):
        with torch.no_grad():
            noise, codes = gan.draw(128)
            images = gan.decode(noise, codes)
        scores = log_probs(gan.prior, gan.posteriors(images), codes)
        optimiser.zero_grad()
        (-sum(score.mean() for score in scores.values())).backward()
        optimiser.step()
    gan.zero_grad()
    return gan.eval()


def test_refinement_reads_codes_better_than_q(read):
    n = 60
    noise, codes, images = seen(read, n, 0.02)
    posteriors = read.infer(images)
    found = refine(read, images, 0.02, steps=200)
    for name in ("slant", "style"):
        before = (posteriors[name].mean - codes[name]).abs().reshape(n, -1).mean(-1)
        after = (found.codes[name] - codes[name]).abs().reshape(n, -1).mean(-1)
        gain = before - after
        assert gain.mean() >= 4 * gain.std() / n**0.5, name
        assert after.median() < before.median() / 2
    right = (posteriors["digit"].probs.argmax(-1) == codes["digit"]).float().mean()
    assert right < 1, "Q leaves something to mend"
    refined = found.codes["digit"] == codes["digit"]
    assert refined.float().mean() > right
    # What is fitted explains the pixels, and that by more than Q's means with any noise drawn.
    error = (found.images - images).square().mean((1, 2, 3)).sqrt()
    assert error.median() < 0.03
    torch.testing.assert_close(found.images, read.generate(n, found.codes, found.noise))
    assert (found.noise - noise)[refined].abs().median() < 0.1


def test_refinement_begins_at_q(read):
    *_, images = seen(read, 30, 0.02)
    found = refine(read, images, 0.02, steps=1, rate=1e-6)
    posteriors = read.infer(images)
    for name, reach in {"slant": 0.9, "style": math.inf}.items():
        # A start is the mean of some hundred draws, kept inside the prior's support.
        q = posteriors[name]
        miss = found.codes[name].clamp(-reach, reach) - q.mean.clamp(-reach, reach)
        assert (miss.abs() <= 5 * q.stddev / 16).all()
    assert found.noise.abs().max() < 1e-3
    assert torch.equal(found.candidates["digit"][0], posteriors["digit"].probs.argmax(-1))


def test_refinement_changes_nothing(images):
    gan = InfoGAN(Learned(), SHAPE, noise=4)
    next(gan.generator.parameters()).requires_grad_(False)
    gan.trunk.eval()
    state = {name: value.clone() for name, value in gan.state_dict().items()}
    needed = [weight.requires_grad for weight in gan.parameters()]
    modes = [part.training for part in gan.modules()]
    with pyro.get_param_store().scope():
        mine = pyro.param("slant.loc", torch.tensor(3.0))
        refine(gan, images[:3], 0.1, steps=3)
        importance(gan, images[:3], 0.1, draws=5)
        assert list(pyro.get_param_store()) == ["slant.loc"]
        assert pyro.param("slant.loc") is mine
    for name, value in gan.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(weight.grad is None for weight in gan.parameters())
    assert needed == [weight.requires_grad for weight in gan.parameters()]
    assert modes == [part.training for part in gan.modules()]


def test_refinement_in_parts_is_the_same(mixture, monkeypatch):
    *_, images = seen(mixture, 5, 0.2)
    whole = refine(mixture, images, 0.2, steps=80, draws=60)
    monkeypatch.setattr(inversion, "BATCH", 7)
    parts = refine(mixture, images, 0.2, steps=80, draws=60, candidates=3)
    assert torch.equal(whole.candidates["digit"], parts.candidates["digit"])
    torch.testing.assert_close(whole.log_evidence, parts.log_evidence, atol=0.4, rtol=0)
    torch.testing.assert_close(whole.codes["style"], parts.codes["style"], atol=0.5, rtol=0)
    torch.testing.assert_close(
        whole.losses[-30:].mean(), parts.losses[-30:].mean(), atol=1.0, rtol=0
    )


def test_every_posterior_can_be_refined(posed):
    *_, images = seen(posed, 4, 0.1)
    found = refine(posed, images, 0.1, steps=60)
    assert found.candidates["digit"].sort(0).values.T.tolist() == [[0, 1, 2]] * 4
    assert (found.losses[-10:].mean() < found.losses[:10].mean()).all()
    error = (found.images - images).square().mean((1, 2, 3)).sqrt()
    assert error.max() < 0.15


def test_candidates_are_the_likeliest_together(images):
    codes = {
        "digit": dist.Categorical(PROBS),
        "marks": dist.Categorical(torch.ones(4)).expand([2]).to_event(1),
        "bold": dist.Bernoulli(0.5).expand([2]).to_event(1),
        "kind": dist.OneHotCategorical(torch.ones(3)),
        "slant": dist.Uniform(-1.0, 1.0),
    }
    gan = InfoGAN(codes, SHAPE, noise=2)
    images = images[:5]
    # A Q that has made up its mind about some things.
    with torch.no_grad():
        for head in gan.posterior.heads:
            head.linear.bias.normal_(0.0, 1.0)
    found = refine(gan, images, 0.1, steps=1, candidates=9)
    posteriors = gan.infer(images)
    every = []
    for digit, first, second, left, right, kind in product(
        range(3), range(4), range(4), range(2), range(2), range(3)
    ):
        value = {
            "digit": torch.full((5,), digit),
            "marks": torch.tensor([first, second]).expand(5, 2),
            "bold": torch.tensor([float(left), float(right)]).expand(5, 2),
            "kind": F.one_hot(torch.tensor(kind), 3).float().expand(5, 3),
        }
        every.append((value, sum(posteriors[name].log_prob(value[name]) for name in value)))
    log_q = torch.stack([score for _, score in every])
    best = log_q.topk(9, 0)
    tried = sum(posteriors[name].log_prob(found.candidates[name]) for name in found.candidates)
    torch.testing.assert_close(tried.sort(0, descending=True).values, best.values)
    for name in found.candidates:
        expected = torch.stack(
            [every[best.indices[0, image]][0][name][image] for image in range(5)]
        )
        assert torch.equal(found.candidates[name][0], expected)
        assert found.codes[name].shape == expected.shape
    assert found.posterior["digit"].shape == (5, 3)
    assert found.posterior["marks"].shape == (5, 2, 4)
    assert found.posterior["bold"].shape == (5, 2)
    assert found.posterior["kind"].shape == (5, 3)
    for name in ("digit", "marks", "kind"):
        torch.testing.assert_close(
            found.posterior[name].sum(-1), torch.ones(()).expand_as(found.posterior[name].sum(-1))
        )


def test_candidates_of_a_guide_are_tried_as_often_drawn(images):
    gan = InfoGAN(dependent, SHAPE, noise=2, posterior=Chained, networks=linear())
    with torch.no_grad():
        digit = gan.posterior.heads[0].program.digit
        digit.weight.zero_()
        digit.bias.copy_(torch.tensor([0.05, 0.7, 0.25]).log())
    found = refine(gan, images[:4], 0.1, steps=1)
    assert found.candidates["digit"].T.tolist() == [[1, 2, 0]] * 4


@pytest.mark.parametrize(
    "prior", [dist.Exponential(1.0), dist.Gamma(2.0, 1.0), dist.LogNormal(0.0, 1.0)], ids=str
)
def test_a_density_that_is_told_beyond_its_support_weighs_nothing_there(prior):
    """Without validation torch's exponential has more of it below 0, and a gamma is no number."""

    class Around(nn.Module):
        """Half of the draws lie below 0."""

        def forward(self, features):
            return dist.Normal(features.new_zeros(features.shape[:-1]), 1.0)

    gan = InfoGAN(
        {"c": prior}, SHAPE, noise=0, networks=linear(), posterior={"c": lambda *_: Around()}
    )
    found = importance(gan.eval(), gan.generate(3), scale=0.3, draws=400)
    outside = ~prior.support.check(found.codes["c"])
    assert outside.any()
    assert (found.log_weights[outside] == -math.inf).all()
    assert found.log_weights[~outside].isfinite().all()
    assert (found.posterior["c"] >= 0).all()


def test_a_q_outside_the_prior_leaves_room_to_move(images):
    """At the very end of an interval a fit would have no gradient."""
    gan = InfoGAN({"slant": dist.Uniform(-1.0, 1.0)}, SHAPE, noise=2)
    with torch.no_grad():
        gan.posterior.heads[0].linear.bias[0] = 50.0
    found = refine(gan, images[:3], 0.1, steps=1, rate=1e-6)
    torch.testing.assert_close(found.codes["slant"], torch.full((3,), 0.96))


CONTINUOUS = {
    "angle": dist.VonMises(1.0, 0.5),
    "degrees": dist.Uniform(0.0, 360.0),
    "height": dist.Normal(170.0, 20.0),
    "shares": dist.Dirichlet(torch.ones(3)),
    "turns": dist.VonMises(torch.zeros(2), torch.ones(2)).to_event(1),
    "way": dist.ProjectedNormal(torch.zeros(3)),
    "ways": dist.ProjectedNormal(torch.zeros(2, 3)).to_event(1),
    "gap": dist.Exponential(1.0),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_codes_of_every_kind_are_found_again(name):
    """In the units of the prior, from a Q that knows nothing."""
    prior = CONTINUOUS[name]
    gan = InfoGAN({name: prior}, SHAPE, noise=1, networks=linear(0.1))
    _, codes, images = seen(gan, 20, 0.02)
    found = refine(gan, images, 0.02, steps=150)
    assert support(prior).check(found.codes[name]).all()
    scale = {"degrees": 180.0, "height": 20.0}.get(name, 1.0)
    miss = (found.codes[name] - codes[name]) / scale
    angle = name in ("angle", "turns")
    if angle:
        assert found.codes[name].abs().max() <= math.pi + 1e-5
        miss = torch.remainder(miss + math.pi, 2 * math.pi) - math.pi
    assert miss.abs().median() < 0.05
    weighed = importance(gan, images, 1.0, draws=300)
    values, weights = weighed.codes[name], weighed.weights
    assert support(prior).check(weighed.posterior[name]).all()
    points = torch.polar(torch.ones(()), values) if angle else values
    mean = torch.einsum("di,di...->i...", weights.to(points.dtype), points)
    expected = mean.angle() if angle else mean
    if name in ("way", "ways"):
        expected = nn.functional.normalize(mean, dim=-1)
    torch.testing.assert_close(weighed.posterior[name], expected, atol=1e-4, rtol=1e-4)


def test_a_free_angle_is_not_counted_once_a_turn():
    """Where pixels say nothing the evidence is theirs alone, however often a normal goes round."""
    gan = InfoGAN({"angle": dist.VonMises(0.0, 0.1)}, SHAPE, noise=1, networks=linear(1e-4))
    *_, images = seen(gan, 8, 0.3)
    found = refine(gan, images, 0.3, steps=200, rate=0.2, draws=300)
    alone = log_likelihood(images, torch.tensor(0.5), 0.3)
    torch.testing.assert_close(found.log_evidence[0], alone, atol=0.2, rtol=0)


def test_a_value_that_was_never_drawn_is_less_likely_and_not_impossible():
    """Of a code's two elements, each by its own draws."""
    drawn = torch.tensor([[0, 1], [0, 1], [2, 1]]).unsqueeze(1)
    prior = dist.Categorical(torch.ones(3)).expand([2]).to_event(1)
    found = inversion._log_shares(None, prior, torch.arange(3), drawn)
    assert found.shape == (1, 2, 3)
    assert found.isfinite().all()
    first, second = found[0]
    assert first[0] > first[2] > first[1]
    assert second[1] > second[0] == second[2]


def test_counts_without_an_enumeration_are_tried_where_q_drew_them(images):
    class Counts(nn.Module):
        def __init__(self, prior, features):
            super().__init__()
            self.linear = nn.Linear(features, 1)

        def forward(self, features):
            return dist.Poisson(self.linear(features).squeeze(-1).exp() * 2.0)

    gan = InfoGAN({"count": dist.Poisson(2.0)}, SHAPE, noise=1, posterior={"count": Counts})
    found = refine(gan, images[:3], 0.1, steps=2, candidates=4)
    assert found.candidates["count"].shape == (4, 3)
    for image in range(3):
        assert len(set(found.candidates["count"][:, image].tolist())) == 4


def test_nothing_continuous_to_fit(categories):
    *_, images = seen(categories, 6, 0.1)
    found = refine(categories, images, 0.1, steps=2)
    exact = exact_categories(categories, images, 0.1)
    torch.testing.assert_close(found.posterior["digit"], exact, atol=1e-4, rtol=1e-4)


def ordered():
    return dist.TransformedDistribution(
        dist.Normal(torch.zeros(3), 0.7).to_event(1), dist.transforms.OrderedTransform()
    )


# A prior, a family that leaves its support, and where Q says that every code is, in its units.
OUTSIDE = {
    "exponential": (dist.Exponential(1.0), families.Normal, [-4.0]),
    "half normal": (dist.HalfNormal(1.0), families.Laplace, [-4.0]),
    "gamma": (dist.Gamma(2.0, 1.0).expand([2]).to_event(1), families.Normal, [-4.0, 0.0]),
    "log-normal": (dist.LogNormal(0.0, 0.5), families.StudentT, [-9.0]),
    "pareto": (
        dist.GeneralizedPareto(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.1)),
        families.Normal,
        [-4.0],
    ),
    "ordered": (ordered(), families.MultivariateNormal, [3.0, 0.0, -3.0]),
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_codes_are_found_from_a_q_outside_the_support(kind):
    prior, family, located = OUTSIDE[kind]
    gan = InfoGAN({"c": prior}, SHAPE, noise=0, posterior={"c": family}, networks=linear(0.1))
    linear_layer = gan.posterior.heads[0].linear
    with torch.no_grad():
        linear_layer.weight.zero_()
        linear_layer.bias.unflatten(0, (len(located), -1))[:, 0] = torch.tensor(located)
    _, codes, images = seen(gan, 12, 0.02)
    assert not support(prior).check(gan.infer(images)["c"].mean).any()
    found = refine(gan, images, 0.02, steps=150)
    assert support(prior).check(found.codes["c"]).all()
    assert found.log_evidence.isfinite().all()
    assert (found.codes["c"] - codes["c"]).abs().median() < 0.06


class Told(nn.Module):
    """A Q whose means are given, whatever the images."""

    def __init__(self, means):
        super().__init__()
        self.means = means

    def forward(self, features):
        return dist.Normal(self.means[: features.shape[-2]].expand(features.shape[:-1]), 0.01)


def test_one_image_outside_the_support_leaves_the_others_where_q_has_them(images):
    means = torch.tensor([2.0, -3.0, 0.7])
    gan = InfoGAN(
        {"c": dist.Exponential(1.0)},
        SHAPE,
        noise=2,
        posterior={"c": lambda prior, features: Told(means)},
    )
    found = refine(gan, images[:3], 0.1, steps=1, rate=1e-6).codes["c"]
    torch.testing.assert_close(found[[0, 2]], means[[0, 2]], atol=0.005, rtol=0)
    assert 0 < found[1] < 0.3


def test_shares_of_nothing_leave_room_to_move(images):
    """A share of 0 is in the support, and infinitely far on the unconstrained line."""

    class Sure(nn.Module):
        def forward(self, features):
            loc = torch.tensor([0.0, 0.5, 0.5]).expand(*features.shape[:-1], 3)
            return dist.Normal(loc, 1e-30).to_event(1)

    gan = InfoGAN({"c": dist.Dirichlet(torch.ones(3))}, SHAPE, noise=2)
    gan.posterior.heads[0] = Sure()
    found = refine(gan, images[:2], 0.1, steps=1, rate=1e-6).codes["c"]
    assert support(gan.prior.sites["c"]).check(found).all()
    torch.testing.assert_close(found, torch.tensor([0.0, 0.5, 0.5]).expand(2, 3), atol=0.02, rtol=0)


def following():
    centre = pyro.sample("centre", dist.Normal(0.0, 1.0))
    pyro.sample("near", dist.Uniform(centre - 1, centre + 1))


def test_an_interval_that_follows_another_code_is_followed():
    """Its evidence is that of a sum over all values of both."""
    gan = InfoGAN(following, SHAPE, noise=0, networks=linear()).eval()
    *_, images = seen(gan, 6, 0.15)
    found = refine(gan, images, 0.15, steps=200, draws=400)
    apart = (found.codes["near"] - found.codes["centre"]).abs()
    assert (apart < 1).all()
    step = 0.02
    centre = torch.arange(-5.0, 5.0, step)
    share = torch.arange(-1 + step / 2, 1.0, step)
    pairs = torch.cartesian_prod(centre, share)
    values = {"centre": pairs[:, 0], "near": pairs.sum(1)}
    generated = gan.decode(torch.zeros(len(pairs), 0), values).detach()
    log_prior = dist.Normal(0.0, 1.0).log_prob(pairs[:, 0]) - math.log(2)
    exact = torch.stack(
        [(log_prior + log_likelihood(image, generated, 0.15)).logsumexp(0) for image in images]
    ) + 2 * math.log(step)
    torch.testing.assert_close(found.log_evidence[0], exact, atol=0.15, rtol=0)


def stacked():
    kind = pyro.sample("kind", dist.Categorical(torch.tensor([0.7, 0.3])))
    middle = pyro.sample("middle", dist.Normal(0.0, 1.0))
    both = torch.stack([middle, kind.float()], -1)
    pyro.sample("ends", dist.Normal(both, 1.0).to_event(1))


def test_a_program_that_stacks_discrete_and_continuous_codes_has_the_exact_evidence():
    gan = InfoGAN(stacked, SHAPE, noise=0, networks=linear()).eval()
    scale = 0.2
    *_, images = seen(gan, 8, scale)
    found = refine(gan, images, scale, steps=200, draws=400)
    # Of middle and both ends, given the kind: what the pixels add up, on their prior's normal.
    prior = torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    corners = torch.cat([torch.zeros(1, 3), torch.eye(3)])
    values = {"middle": corners[:, 0], "ends": corners[:, 1:]}
    exact = []
    for kind, share in enumerate((0.7, 0.3)):
        held = {"kind": torch.full((4,), kind), **values}
        drawn = gan.decode(torch.zeros(4, 0), held).detach().flatten(1)
        factor = drawn[1:] - drawn[0]
        covariance = factor.T @ prior @ factor + scale**2 * torch.eye(64)
        middle = drawn[0] + kind * factor[2]
        normal = dist.MultivariateNormal(middle, covariance)
        exact.append(math.log(share) + normal.log_prob(images.flatten(1)))
    order = found.candidates["kind"].argsort(0)
    ours = found.log_evidence.gather(0, order)
    torch.testing.assert_close(ours, torch.stack(exact), atol=0.15, rtol=0)


class Scatters(nn.Module):
    """A Q of covariances, which knows nothing."""

    def __init__(self, prior, features):
        super().__init__()

    def forward(self, features):
        freedom = torch.full(features.shape[:-1], 6.0)
        return dist.Wishart(freedom, torch.eye(2).expand(*freedom.shape, 2, 2))


@pytest.mark.filterwarnings("ignore:Singular sample")
def test_codes_that_no_bijection_reaches_are_refused_and_can_be_weighed(images):
    prior = dist.Wishart(torch.tensor(6.0), torch.eye(2))
    codes = {"slant": dist.Uniform(-1.0, 1.0), "scatter": prior}
    gan = InfoGAN(codes, SHAPE, noise=2, posterior={"scatter": Scatters})
    with pytest.raises(DataError, match=r"code 'scatter': got support .*inversion\.importance"):
        refine(gan, images[:3], 0.1, steps=1)
    found = importance(gan, images[:3], 0.1, draws=5)
    assert support(prior).check(found.codes["scatter"]).all()


class Votes(nn.Module):
    """A Q of three votes among three."""

    def __init__(self, prior, features):
        super().__init__()
        self.linear = nn.Linear(features, 3)

    def forward(self, features):
        return dist.Multinomial(3, logits=0.1 * self.linear(features))


def votes_guide(prior, features):
    """The same, as a guide."""

    class Sampled(Votes):
        def forward(self, features):
            pyro.sample("votes", super().forward(features))

    return Sampled(prior, features)


@pytest.mark.parametrize("posterior", [{"votes": Votes}, votes_guide])
def test_counts_that_depend_on_each_other_have_the_exact_posterior(posterior):
    """Their candidates are whole draws of Q: three votes among three are cast in ten ways."""
    shares = torch.tensor([0.5, 0.3, 0.2])
    prior = dist.Multinomial(3, shares)
    gan = InfoGAN({"votes": prior}, SHAPE, noise=0, posterior=posterior, networks=linear()).eval()
    *_, images = seen(gan, 6, 0.2)
    found = refine(gan, images, 0.2, steps=1, candidates=20)
    ways = torch.tensor([way for way in product(range(4), repeat=3) if sum(way) == 3]).float()
    assert found.candidates["votes"].shape == (10, 6, 3)
    for image in range(6):
        assert torch.equal(found.candidates["votes"][:, image].unique(dim=0), ways)
    generated = gan.generate(10, {"votes": ways})
    joint = prior.log_prob(ways) + log_likelihood(images.unsqueeze(1), generated, 0.2)
    torch.testing.assert_close(
        found.posterior["votes"], joint.softmax(-1) @ ways, atol=1e-3, rtol=1e-3
    )


# Hamiltonian Monte Carlo


@pytest.mark.parametrize("enumerated", [True, False])
def test_nuts_draws_from_the_exact_posterior(mixture, enumerated):
    """With categories summed out by Pyro, or conditioned."""
    scale, n, draws = 0.2, 2, 100
    _, codes, images = seen(mixture, n, scale)
    joint, means, covariance = exact_mixture(mixture, images, scale)
    program = poutine.condition(mixture.observed(scale), {"noise": torch.zeros(n, 0)})
    shares = joint.softmax(-1)
    if not enumerated:
        program = poutine.condition(program, {"digit": codes["digit"]})
        shares = F.one_hot(codes["digit"], 3).float()
    mcmc = MCMC(NUTS(program), num_samples=draws, warmup_steps=40, disable_progbar=True)
    mcmc.run(images)
    found = mcmc.get_samples()["style"]
    assert found.shape == (draws, n, 2)
    exact = (shares.unsqueeze(-1) * means).sum(1)
    spread = (means - exact.unsqueeze(1)).square()
    variance = covariance.diagonal() + (shares.unsqueeze(-1) * spread).sum(1)
    # At the least, every fourth draw is worth an independent one.
    assert ((found.mean(0) - exact).abs() <= 4.5 * (variance / (draws / 4)).sqrt()).all()
    assert (found.var(0) / variance < 2.5).all()
    assert (found.var(0) / variance > 0.4).all()


# The command line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inversion")
    file = folder / "my_codes.py"
    file.write_text(EXPERIMENT)
    main(["train", str(file), "--steps", "3", "--out", str(folder / "run")])
    return folder / "run"


def test_reconstruct(run, tmp_path, capsys):
    paths = []
    for index in range(13):
        paths.append(str(tmp_path / f"{index}.png"))
        pixels = torch.randint(0, 256, (8, 8), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(paths[-1])
    out = tmp_path / "grid.png"
    capsys.readouterr()
    main(["reconstruct", str(run), *paths, "--steps", "2", "--out", str(out)])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == paths
    for line in lines:
        assert set(line["codes"]) == {"digit", "slant", "style"}
        assert len(line["codes"]["style"]) == 2
        assert sum(line["posterior"]["digit"]) == pytest.approx(1, abs=1e-5)
        assert line["posterior"]["digit"][line["codes"]["digit"]] == max(line["posterior"]["digit"])
        assert 0 < line["rmse"] < 1
    with Image.open(out) as grid, Image.open(paths[11]) as original:
        picture, pixels = pil_to_tensor(grid)[0], pil_to_tensor(original)[0]
    assert picture.shape == (40, 100)
    # The second image of the second row; its reconstruction is below it.
    assert torch.equal(picture[21:29, 11:19], pixels)
    miss = (picture[31:39, 11:19].float() - pixels.float()) / 255
    assert miss.square().mean().sqrt().item() == pytest.approx(lines[11]["rmse"], abs=5e-3)
    main(["reconstruct", str(run), *paths, "--steps", "2", "--out", str(out)])
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert again == lines, "the seed decides"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--scale", "0"], "scale"),
        (["--steps", "0"], "steps"),
        (["--candidates", "0"], "candidates"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_reconstruct_with_bad_settings(run, tmp_path, capsys, more, says):
    path = tmp_path / "image.png"
    Image.new("L", (8, 8)).save(path)
    with pytest.raises(SystemExit) as stop:
        main(["reconstruct", str(run), str(path), *more])
    assert stop.value.code == 1
    assert f"error: {says}" in capsys.readouterr().err


def test_reconstruct_without_images(run, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["reconstruct", str(run)])
    assert stop.value.code in (1, 2)
