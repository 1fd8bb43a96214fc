"""The two Pyro programs, and their agreement with the direct route."""

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Importance, Predictive
from torch import nn

from pyro_infogan import InfoGAN, families
from pyro_infogan.errors import DataError, DeclarationError
from pyro_infogan.inference import scores
from pyro_infogan.models import networks as nets
from tests.conftest import small_codes

SITES = {"noise", "digit", "slant", "style"}


def trace_of(program, *args):
    trace = poutine.trace(program).get_trace(*args)
    trace.compute_log_prob()
    return trace


def sites(trace):
    return {name for name in trace.stochastic_nodes if name != "images"}


def test_sites_of_the_programs(gan):
    model = trace_of(gan.model, 5)
    images = model.nodes["_RETURN"]["value"]
    assert sites(model) == SITES
    assert images.shape == (5, 1, 8, 8)
    assert 0 <= images.min() <= images.max() <= 1
    guide = trace_of(gan.guide, images)
    assert sites(guide) == SITES - {"noise"}
    for name in SITES - {"noise"}:
        assert guide.nodes[name]["value"].shape == model.nodes[name]["value"].shape


def test_traced_bound_equals_the_direct_one(gan):
    gan.eval()
    model = trace_of(gan.model, 12)
    images = model.nodes["_RETURN"]["value"]
    guide = trace_of(poutine.replay(gan.guide, model), images)
    codes = {name: model.nodes[name]["value"] for name in gan.prior.sites}
    direct = scores(gan.prior, gan.posteriors(images), codes)
    for name in codes:
        traced = guide.nodes[name]["log_prob"] - model.nodes[name]["log_prob"]
        torch.testing.assert_close(traced, direct[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gan.decode(model.nodes["noise"]["value"], codes), images)


def test_draws_of_both_routes_follow_one_law(gan):
    n = 20_000
    traced = poutine.trace(gan.model).get_trace
    with torch.no_grad():
        model = traced(n)
    noise, codes = gan.draw(n)
    for name, direct in {"noise": noise, **codes}.items():
        a, b = model.nodes[name]["value"].float(), direct.float()
        error = (a.var(0) / n + b.var(0) / n).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 4.5 * error).all(), name


def test_holding_and_conditioning(gan):
    held = trace_of(poutine.do(gan.model, {"digit": torch.tensor(2)}), 4)
    assert held.nodes["_RETURN"]["value"].shape == (4, 1, 8, 8)
    seen = trace_of(poutine.condition(gan.model, {"digit": torch.tensor(2)}), 4)
    assert seen.nodes["digit"]["is_observed"]
    expected = torch.full((4,), 0.2).log()
    torch.testing.assert_close(seen.nodes["digit"]["log_prob"], expected)
    vector = torch.tensor([0.1, -0.1])
    assert poutine.condition(gan.model, {"style": vector})(3).shape == (3, 1, 8, 8)


def test_holding_decides_the_image(gan):
    gan.eval()
    noise, codes = gan.draw(4)
    codes["digit"] = torch.full((4,), 2)
    model = poutine.condition(gan.model, {"noise": noise, **codes})
    torch.testing.assert_close(model(4), gan.generate(4, codes, noise))


def test_a_missing_code_is_named(gan):
    noise, codes = gan.draw(2)
    del codes["digit"], codes["style"]
    with pytest.raises(DataError, match="none of 'digit', 'style', expected values of all"):
        gan.decode(noise, codes)


def test_values_that_do_not_fit_the_plate_are_refused(gan):
    for n, held in (
        (4, {"slant": torch.zeros(3)}),
        (4, {"slant": torch.zeros(4, 1)}),
        (1, {"slant": torch.zeros(4)}),
        (4, {"digit": torch.tensor(3)}),
        (4, {"digit": torch.tensor(1.5)}),
        (4, {"style": torch.zeros(3)}),
        (4, {"slant": torch.tensor(float("nan"))}),
        (4, {"noise": torch.zeros(4, 3)}),
    ):
        with pytest.raises(DataError, match=r"got .* expected"):
            poutine.do(gan.model, held)(n)
    for n in (0, -1, 2.0):
        with pytest.raises(DataError, match="whole number"):
            gan.model(n)


def test_models_under_outer_plates(gan):
    with pyro.plate("outer", 3, dim=-2):
        assert gan.model(4).shape == (3, 4, 1, 8, 8)
    with pyro.plate("outer", 3):
        assert gan.model(4).shape == (4, 3, 1, 8, 8)


def test_guides_look_at_their_images(gan):
    for bad in (torch.rand(8, 8), torch.rand(4, 8, 8, 1), torch.rand(4, 1, 16, 8), None):
        with pytest.raises(DataError, match="images"):
            gan.guide(bad)
    with pytest.raises(DataError, match="values in"):
        gan.guide(torch.full((4, 1, 8, 8), 255.0))
    assert set(gan.guide(torch.zeros(4, 1, 8, 8, dtype=torch.uint8))) == SITES - {"noise"}


def test_predictive_in_parallel_and_in_turn(gan):
    gan.eval()
    for parallel in (False, True):
        draws = Predictive(
            gan.model, num_samples=3, parallel=parallel, return_sites=("digit", "_RETURN")
        )(5)
        assert draws["digit"].shape == (3, 5)
        assert draws["_RETURN"].shape == (3, 5, 1, 8, 8)
    images = draws["_RETURN"][0]
    posterior = Predictive(gan.guide, num_samples=7, parallel=True)(images)
    assert posterior["style"].shape == (7, 5, 2)


def test_guide_under_outer_plates(gan):
    gan.eval()
    images = torch.rand(3, 5, 1, 8, 8)
    with pyro.plate("outer", 3, dim=-2):
        nested = gan.guide(images)
    assert nested["style"].shape == (3, 5, 2)
    flat = gan.posteriors(images.reshape(15, 1, 8, 8))["slant"].loc
    torch.testing.assert_close(gan.posteriors(images)["slant"].loc.reshape(-1), flat)


def test_importance_sampling_with_the_guide():
    """The guide proposes; weights are prior over posterior, and the evidence of no data is 1."""
    codes = {name: small_codes()[name] for name in ("digit", "style")}
    gan = InfoGAN(codes, (1, 8, 8), noise=4).eval()
    noise, drawn = gan.draw(1)
    images = gan.generate(1, drawn, noise)
    model = poutine.block(lambda images: gan.model(1), hide=["noise"])
    posterior = Importance(model, gan.guide, num_samples=2_000).run(images)
    weights = torch.stack([torch.as_tensor(weight) for weight in posterior.log_weights]).exp()
    error = weights.std() / len(weights) ** 0.5
    assert abs(weights.mean() - 1.0) <= 4 * error


def test_blocking_hides_a_site(gan):
    blocked = poutine.trace(poutine.block(gan.model, hide=["noise"])).get_trace(3)
    assert sites(blocked) == SITES - {"noise"}


def test_generate_and_infer(gan, images):
    assert gan.generate(3, {"digit": 1}).shape == (3, 1, 8, 8)
    posteriors = gan.infer(images)
    assert posteriors["digit"].probs.shape == (40, 3)
    torch.testing.assert_close(
        gan.infer(images.float() / 255)["slant"].loc, posteriors["slant"].loc
    )
    assert gan.training, "the mode is as it was"
    before = {name: value.clone() for name, value in gan.named_buffers()}
    noise, codes = gan.draw(3)
    seen = gan.generate(3, codes, noise), gan.infer(images)["slant"].loc
    gan.eval()
    torch.testing.assert_close(gan.generate(3, codes, noise), seen[0])
    torch.testing.assert_close(gan.infer(images)["slant"].loc, seen[1])
    for name, value in gan.named_buffers():
        assert torch.equal(value, before[name]), name
    for bad in (0, -1, True, 2.0):
        with pytest.raises(DataError, match="1 or more"):
            gan.generate(bad)
    for noise in (torch.zeros(2, 4), torch.full((4,), float("nan")), "none"):
        with pytest.raises(DataError, match="one row of noise"):
            gan.generate(3, noise=noise)
    with pytest.raises(DataError, match="dictionary"):
        gan.generate(3, codes=[3])


def test_holding_a_code_leaves_the_other_draws_as_they_were(gan):
    gan.eval()
    torch.manual_seed(3)
    noise, codes = gan.draw(4)
    torch.manual_seed(3)
    held = gan.generate(4, {"digit": codes["digit"]})
    torch.testing.assert_close(held, gan.generate(4, codes, noise))


def test_parts_keep_their_own_modes(gan):
    gan.trunk.eval()
    gan.generate(2)
    assert gan.generator.training
    assert not gan.trunk.training


def test_the_bound_is_read_in_evaluation_mode_and_the_mode_stays(gan):
    before = {name: value.clone() for name, value in gan.named_buffers()}
    torch.manual_seed(3)
    found = gan.information(50)
    assert gan.training
    for name, value in gan.named_buffers():
        assert torch.equal(value, before[name]), name
    gan.eval()
    torch.manual_seed(3)
    assert gan.information(50) == found


def test_generate_and_infer_do_not_depend_on_their_batch(gan, images):
    gan.eval()
    noise, codes = gan.draw(6)
    whole = gan.generate(6, codes, noise)
    alone = gan.generate(1, {name: value[:1] for name, value in codes.items()}, noise[:1])
    torch.testing.assert_close(whole[:1], alone)
    torch.testing.assert_close(
        gan.infer(images)["digit"].logits[:1], gan.infer(images[:1])["digit"].logits
    )


def test_repr_names_every_choice(gan):
    text = repr(gan)
    for name in small_codes():
        assert name in text
    assert "λ = 0.1" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"noise": -1}, "0 or more"),
        ({"noise": 2.5}, "whole number"),
        ({"noise": True}, "whole number"),
        ({"image_shape": (28, 28)}, "channels, height, width"),
        ({"image_shape": (1, 7, 28)}, "channels, height, width"),
        ({"image_shape": (0, 28, 28)}, "channels, height, width"),
        ({"image_shape": (1, 28.5, 28)}, "channels, height, width"),
        ({"image_shape": 28}, "channels, height, width"),
        ({"information_weights": {"slnat": 1.0}}, "slnat"),
        ({"information_weights": {"slant": -1.0}}, "0 or more"),
        ({"information_weights": {"slant": float("nan")}}, "0 or more"),
        ({"information_weights": {"slant": "big"}}, "0 or more"),
        ({"information_weights": 1.0}, "dictionary"),
        ({"posterior": families.Normal}, "dictionary"),
        ({"posterior": {"slant": "Normal"}}, "a family"),
        ({"posterior": {"slant": dist.Normal}}, "a family"),
        ({"networks": lambda shape, inputs: nets.dcgan((1, 16, 16), inputs)}, "shapes of images"),
        ({"networks": lambda shape, inputs: nets.dcgan(shape, 3)}, "shapes of images"),
    ],
)
def test_bad_arguments_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        InfoGAN(small_codes(), **{"image_shape": (1, 8, 8)} | arguments)


def test_weights_default_by_kind_and_are_settable():
    gan = InfoGAN(small_codes(), (1, 8, 8), information_weights={"slant": 0.5})
    assert gan.information_weights == {"digit": 1.0, "slant": 0.5, "style": 0.1}


def test_other_precisions(images):
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=4).double()
    assert gan.infer(images)["slant"].loc.dtype == torch.float64
    assert gan.generate(2, {"digit": 1}).dtype == torch.float32
    assert gan.information(20)["digit"].bound <= 1.03


def test_whole_numbers_of_numpy_are_whole_numbers(gan):
    assert len(gan.generate(np.int64(3))) == 3
    for wrong in (True, np.bool_(True), 3.0, "3"):
        with pytest.raises(DataError, match="whole number"):
            gan.generate(wrong)


def test_networks_that_are_no_pair_and_images_beyond_1_are_refused():
    def build(networks):
        return InfoGAN({"slant": dist.Normal(0.0, 1.0)}, (1, 8, 8), networks=networks)

    with pytest.raises(DeclarationError, match=r"networks\.Pair"):
        build(lambda shape, inputs: (nn.Identity(), nn.Identity()))

    def ends_in_tanh(shape, inputs):
        pair = nets.for_shape(shape, inputs)
        return replace(pair, generator=nn.Sequential(*list(pair.generator)[:-1], nn.Tanh()))

    with pytest.raises(DeclarationError, match="a generator of values from -0"):
        build(ends_in_tanh)


def test_no_noise_at_all_is_a_choice():
    gan = InfoGAN({"u": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), noise=0)
    assert gan.generate(2).shape == (2, 1, 8, 8)
    assert gan.model(2).shape == (2, 1, 8, 8)
