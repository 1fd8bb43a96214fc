"""``model``, ``observed`` and ``guide`` under Pyro's own handlers and algorithms.

Each of independent codes, codes that depend on each other, a joint posterior and a user's guide.
"""

import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.contrib.oed.eig import _posterior_ape, posterior_eig
from pyro.infer import CSIS, SVI, Importance, Predictive, TraceEnum_ELBO, config_enumerate
from pyro.infer.inspect import get_dependencies
from pyro.optim import Adam

from pyro_infogan import InfoGAN, families
from pyro_infogan.codes import names_of
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.inference import log_probs, scores
from pyro_infogan.inversion import importance
from tests.conftest import small_codes
from tests.test_inversion import CENTRES, SHAPE, Chained, dependent, linear, seen

CODES = ("digit", "slant", "style")
KINDS = {
    # Inside the interval, or a draw may have no score under the model.
    "independent": (small_codes(), {"slant": families.TruncatedNormal}),
    "dependent": (dependent, {}),
    "joint": (dependent, {("slant", "style"): families.MultivariateNormal}),
    "guide": (dependent, Chained),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def gan(kind):
    codes, posterior = KINDS[kind]
    return InfoGAN(codes, SHAPE, noise=3, posterior=posterior, networks=linear()).eval()


def trace_of(program, *args):
    trace = poutine.trace(program).get_trace(*args)
    trace.compute_log_prob()
    return trace


def codes_of(trace):
    return {name: trace.nodes[name]["value"] for name in CODES}


def log_q(gan, images, codes):
    """Log q of all codes together, (n,), by the direct route."""
    return torch.stack(list(log_probs(gan.prior, gan.posteriors(images), codes).values())).sum(0)


# Handlers


def test_condition_gives_the_direct_scores(gan):
    """Log q of the conditioned guide, and log p of the conditioned model, site by site."""
    noise, codes = gan.draw(9)
    images = gan.decode(noise, codes)
    guide = trace_of(poutine.condition(gan.guide, codes), images)
    direct = log_probs(gan.prior, gan.posteriors(images), codes)
    for key, expected in direct.items():
        traced = sum(guide.nodes[name]["log_prob"] for name in names_of(key))
        torch.testing.assert_close(traced, expected, atol=1e-5, rtol=1e-5)
        assert all(guide.nodes[name]["is_observed"] for name in names_of(key))
    model = trace_of(poutine.condition(gan.model, {"noise": noise, **codes}), 9)
    for name, expected in gan.prior.log_prob(codes).items():
        torch.testing.assert_close(model.nodes[name]["log_prob"], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.nodes["_RETURN"]["value"], images)


def test_replay_carries_draws_from_one_program_to_the_other(gan):
    images = gan.generate(6)
    guide = trace_of(gan.guide, images)
    model = trace_of(poutine.replay(gan.model, guide), 6)
    for name, value in codes_of(guide).items():
        assert torch.equal(model.nodes[name]["value"], value)
    expected = gan.decode(model.nodes["noise"]["value"], codes_of(guide))
    torch.testing.assert_close(model.nodes["_RETURN"]["value"], expected)
    back = trace_of(poutine.replay(gan.guide, model), images)
    for name in CODES:
        assert torch.equal(back.nodes[name]["log_prob"], guide.nodes[name]["log_prob"])


def test_do_holds_a_code_and_what_depends_on_it_follows(gan, kind):
    n = 400
    held = poutine.do(gan.model, {"digit": torch.tensor(2)})
    trace = trace_of(held, n)
    codes = codes_of(trace)
    if kind != "independent":
        assert (codes["slant"] - CENTRES[2]).mean().abs() <= 4.5 * 0.3 / n**0.5
    # The site keeps a draw of its own, which nothing sees.
    assert set(codes["digit"].tolist()) == {0, 1, 2}
    seen_codes = codes | {"digit": torch.full((n,), 2)}
    expected = gan.decode(trace.nodes["noise"]["value"], seen_codes)
    torch.testing.assert_close(trace.nodes["_RETURN"]["value"], expected)
    images = gan.generate(5)
    both = {"digit": torch.tensor(2), "slant": torch.zeros(5)}
    trace = trace_of(poutine.do(gan.observed(0.1), both), images)
    codes = {"style": trace.nodes["style"]["value"]} | both
    expected = gan.generate(5, codes, trace.nodes["noise"]["value"])
    torch.testing.assert_close(trace.nodes["_RETURN"]["value"], expected)
    if kind == "joint":
        # What is left of a joint posterior is not known, and Pyro's tracer keeps the reason.
        with pytest.raises(DeclarationError, match="values for all of its codes, or for none"):
            trace_of(poutine.do(gan.guide, both), images)
        both.pop("slant")
    found = poutine.do(gan.guide, both)(images)
    for name, value in both.items():
        assert (found[name] == value).all()


def test_errors_keep_their_kind_and_text_in_a_trace(gan):
    with pytest.raises(DataError, match=r"noise: got shape .* one row of noise for each image"):
        trace_of(poutine.condition(gan.model, {"noise": torch.zeros(2, 9)}), 2)
    error = pickle.loads(pickle.dumps(DataError("thing", got=1, expected=2, fix="Change it.")))
    assert isinstance(error, DataError)
    assert str(error) == "thing: got 1, expected 2. Change it."


def test_block_hides_sites_and_leaves_the_images(gan):
    trace = poutine.trace(poutine.block(gan.model, hide=["noise", "digit"])).get_trace(4)
    assert {name for name in trace.stochastic_nodes if name != "images"} == {"slant", "style"}
    assert trace.nodes["_RETURN"]["value"].shape == (4, *SHAPE)
    shown = poutine.trace(poutine.block(gan.observed(0.1), expose=["pixels"]))
    assert shown.get_trace(gan.generate(4)).observation_nodes == ["pixels"]


@pytest.mark.parametrize("program", ["model", "observed", "guide"])
def test_scale_and_mask(gan, program):
    images = gan.generate(5)
    called = {"model": gan.model, "observed": gan.observed(0.1), "guide": gan.guide}[program]
    argument = 5 if program == "model" else images
    plain = trace_of(called, argument)
    again = poutine.replay(called, plain)
    kept = torch.tensor([True, False, True, True, False])
    doubled = trace_of(poutine.scale(again, 2.0), argument)
    masked = trace_of(poutine.mask(again, kept), argument)
    sites = [name for name, site in plain.nodes.items() if site["type"] == "sample"]
    for name in set(sites) - {"images"}:
        log_prob = plain.nodes[name]["log_prob"]
        torch.testing.assert_close(doubled.nodes[name]["log_prob"], 2 * log_prob)
        torch.testing.assert_close(masked.nodes[name]["log_prob"], log_prob * kept)


# Drawing


@pytest.mark.parametrize("parallel", [True, False])
def test_predictive_from_prior_and_posterior(gan, parallel):
    images = gan.generate(4)
    prior = Predictive(gan.model, num_samples=5, parallel=parallel)(4)
    assert prior["style"].shape == (5, 4, 2)
    draws = Predictive(gan.guide, num_samples=5, parallel=parallel)(images)
    assert {name: value.shape for name, value in draws.items()} == {
        "digit": (5, 4),
        "slant": (5, 4),
        "style": (5, 4, 2),
    }
    again = Predictive(gan.model, posterior_samples=draws, return_sites=("noise", "_RETURN"))(4)
    assert again["_RETURN"].shape == (5, 4, *SHAPE)
    for draw in range(5):
        codes = {name: draws[name][draw] for name in CODES}
        expected = gan.decode(again["noise"][draw], codes)
        torch.testing.assert_close(again["_RETURN"][draw], expected)
    pixels = Predictive(poutine.uncondition(gan.observed(0.1)), num_samples=3)(images)["pixels"]
    assert pixels.shape == (3, 4, *SHAPE)


def explained(gan, scale):
    """The observed program with its noise drawn from the prior, unseen, as the guide has none."""
    return poutine.block(gan.observed(scale), hide=["noise"])


@pytest.mark.parametrize("codes", ["independent", "dependent"])
def test_importance_agrees_with_the_vectorised_one(codes):
    declared = {name: small_codes()[name] for name in ("digit", "style")}
    declared = declared if codes == "independent" else dependent
    gan = InfoGAN(declared, SHAPE, noise=1, networks=linear()).eval()
    *_, images = seen(gan, 1, 0.4)
    pyros = Importance(explained(gan, 0.4), gan.guide, num_samples=200).run(images)
    weights = torch.stack(pyros.log_weights)
    found = importance(gan, images, 0.4, draws=4_000)
    one, other = weights.double(), found.log_weights[:, 0].double()
    shift = other.max()
    one, other = (one - shift).exp(), (other - shift).exp()
    error = (one.var() / len(one) + other.var() / len(other)).sqrt()
    assert (one.mean() - other.mean()).abs() <= 4.5 * error
    assert error < 0.4 * other.mean()
    assert 1 <= pyros.get_ESS() <= 200


# Fitting


def test_svi_fits_q_to_given_images():
    """The ordinary ELBO, with categories enumerated; only Q's parameters move."""
    declared = {name: small_codes()[name] for name in ("digit", "style")}
    gan = InfoGAN(declared, SHAPE, noise=2, networks=linear()).eval()
    *_, images = seen(gan, 30, 0.1)

    def guide(images):
        pyro.module("trunk", gan.trunk)
        pyro.module("posterior", gan.posterior)
        gan.guide(images)

    before = {name: value.clone() for name, value in gan.state_dict().items()}
    with pyro.get_param_store().scope():
        svi = SVI(
            explained(gan, 0.1),
            config_enumerate(guide),
            Adam({"lr": 3e-3}),
            TraceEnum_ELBO(max_plate_nesting=1),
        )
        losses = torch.tensor([svi.step(images) for _ in range(80)])
        assert {name.split("$$$")[0] for name in pyro.get_param_store()} == {"trunk", "posterior"}
    fall = losses[:20].mean() - losses[-20:].mean()
    assert fall >= 4 * ((losses[:20].var() + losses[-20:].var()) / 20).sqrt()
    for name, value in gan.state_dict().items():
        moved = not torch.equal(value, before[name])
        weight = name in dict(gan.named_parameters())
        assert moved == (weight and name.startswith(("trunk", "posterior"))), name


def delta(gan):
    """The model with its images as an observed site, without noise of pixels."""

    def model(n, observations=None):
        del observations
        images = poutine.block(gan.model, hide=["noise"])(n)
        pyro.sample("seen", dist.Delta(images, event_dim=4), obs=images)

    return model


def test_fitting_q_is_inference_compilation(gan):
    """CSIS's loss and gradients (Le et al. 2017): −E log q at the model's codes."""
    n, batch = 7, 4

    def guide(n, observations):
        del n
        pyro.module("trunk", gan.trunk)
        pyro.module("posterior", gan.posterior)
        gan.guide(observations["seen"])

    csis = CSIS(delta(gan), guide, Adam({"lr": 1e-3}), training_batch_size=batch)
    weights = dict(gan.named_parameters())
    with pyro.get_param_store().scope():
        torch.manual_seed(3)
        loss = csis.loss_and_grads(True, None, n)
        compiled = {name: weight.grad for name, weight in weights.items()}
    gan.zero_grad()
    torch.manual_seed(3)
    direct = torch.zeros(())
    for _ in range(batch):
        trace = poutine.trace(gan.model).get_trace(n)
        images = trace.nodes["_RETURN"]["value"]
        direct = direct - log_q(gan, images, codes_of(trace)).sum() / batch
    assert loss == pytest.approx(direct.item(), rel=1e-5)
    fitted = [name for name in weights if name.startswith(("trunk", "posterior"))]
    gradients = torch.autograd.grad(direct, [weights[name] for name in fitted], allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in gradients)
    for name, gradient in zip(fitted, gradients, strict=True):
        if gradient is None:
            assert compiled[name] is None, name
        else:
            torch.testing.assert_close(compiled[name], gradient, atol=1e-5, rtol=1e-4)


def test_fitting_q_is_the_posterior_loss_of_experimental_design(gan, kind):
    """Of Foster et al. 2019: −E log q; and their bound on the information gained is L_I."""
    n = 50

    def model(design):
        images = gan.model(len(design))
        pyro.sample("seen", dist.Delta(images, event_dim=4))

    def guide(seen, design, observed, targets):
        del design, observed, targets
        gan.guide(seen["seen"])

    def posterior(estimate, **settings):
        torch.manual_seed(5)
        labels = ["seen"], list(CODES)
        return estimate(model, torch.zeros(1), *labels, n, 0, guide, None, **settings)

    torch.manual_seed(5)
    trace = poutine.trace(gan.model).get_trace(n)
    images = trace.nodes["_RETURN"]["value"]
    direct = log_q(gan, images, codes_of(trace))
    with pyro.get_param_store().scope(), torch.no_grad():
        loss = posterior(_posterior_ape)
        gain = posterior(posterior_eig, prior_entropy_kwargs={"mean_field": True})
    torch.testing.assert_close(loss, -direct.mean(), atol=1e-5, rtol=1e-5)
    if kind == "independent":
        # L_I with the exact entropy in the place of −E log p.
        bound = direct.mean() + sum(gan.entropies.values())
        torch.testing.assert_close(gain.squeeze(), bound, atol=1e-5, rtol=1e-5)
    log_p = torch.stack(list(gan.prior.log_prob(codes_of(trace)).values())).sum(0)
    score = scores(gan.prior, gan.posteriors(images), codes_of(trace))
    torch.testing.assert_close(sum(score.values()), direct - log_p, atol=1e-4, rtol=1e-4)


# Pictures of the programs


def edges(gan):
    found = {"digit": {"digit"}, "slant": {"slant"}, "style": {"style"}, "noise": {"noise"}}
    if gan.prior.written:
        found["slant"] = {"slant", "digit"}
    return found


def test_dependencies_are_those_declared(gan):
    images = gan.generate(3)
    model = get_dependencies(gan.model, (3,))["prior_dependencies"]
    assert {name: set(others) for name, others in model.items()} == edges(gan)
    observed = get_dependencies(gan.observed(0.1), (images,))["prior_dependencies"]
    expected = edges(gan) | {"pixels": {"pixels", "noise", *CODES}}
    assert {name: set(others) for name, others in observed.items()} == expected


def test_render_model(gan, kind):
    pytest.importorskip("graphviz")
    images = gan.generate(3)
    source = pyro.render_model(gan.model, model_args=(3,), render_distributions=True).source
    assert "cluster_images" in source
    assert "digit ~ Categorical" in source
    assert ("digit -> slant" in source) == (kind != "independent")
    source = pyro.render_model(gan.observed(0.1), model_args=(images,)).source
    for name in ("noise", *CODES):
        assert f"{name} -> pixels" in source
    source = pyro.render_model(gan.guide, model_args=(images,)).source
    assert "noise" not in source
    assert ("digit -> slant" in source) == (kind == "guide")
