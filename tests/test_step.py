"""Gradient routes: each player's step moves exactly its own parameters, by its own terms."""

import contextlib
import copy
import math

import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import (
    INFOGAN,
    PLAIN_GAN,
    Affine,
    Chain,
    InfoGAN,
    Inks,
    Invariance,
    Objective,
    PriorTerms,
    Rates,
    Strokes,
    Tints,
    families,
)
from pyro_infogan.errors import DeclarationError
from pyro_infogan.inference import Step
from pyro_infogan.inference.adversarial import discriminator_loss, generator_loss
from pyro_infogan.models import convolution
from tests.conftest import small_codes
from tests.killed import Codes

PARTS = ("generator", "trunk", "discriminator", "posterior")
DISTORTED = Objective(invariance=Invariance(Affine(), codes=("digit",)))


@pytest.fixture
def real():
    return torch.rand(16, 1, 8, 8)


def build(weights=None):
    torch.manual_seed(1)
    return InfoGAN(small_codes(), (1, 8, 8), noise=4, information_weights=weights)


def parameters(gan, part):
    return dict(getattr(gan, part).named_parameters())


def gradients(update, gan):
    """Gradient norm of each parameter by part, None where no gradient was formed."""
    for parameter in gan.parameters():
        parameter.grad = None
    update()
    return {
        part: {
            name: None if value.grad is None else value.grad.norm().item()
            for name, value in parameters(gan, part).items()
        }
        for part in PARTS
    }


def moved(update, gan):
    before = copy.deepcopy({part: parameters(gan, part) for part in PARTS})
    update()
    return {
        part: {
            name: not torch.equal(before[part][name], value)
            for name, value in parameters(gan, part).items()
        }
        for part in PARTS
    }


@pytest.mark.parametrize("objective", [INFOGAN, DISTORTED], ids=["infogan", "invariance"])
def test_each_step_changes_exactly_its_row(objective, real):
    gan = build()
    step = Step(gan, objective)
    rows = {
        lambda: step.update_discriminator(real, step.draw(len(real))): {
            "trunk",
            "discriminator",
            "posterior",
        },
        lambda: step.update_generator(step.draw(16)): {"generator"},
    }
    for update, row in rows.items():
        changed = moved(update, gan)
        for part in PARTS:
            expected = part in row
            assert all(value is expected for value in changed[part].values()), (part, changed[part])
        formed = gradients(update, gan)
        for part in PARTS:
            for name, norm in formed[part].items():
                # No gradient of the other player's weights is even formed.
                assert (norm is not None) == (part in row), (part, name)
                assert norm is None or norm > 0, (part, name)


def test_every_player_has_a_rate_of_its_own_and_the_betas_of_all():
    gan = InfoGAN(Codes(), (1, 8, 8), noise=4)
    rates = Rates(discriminator=1e-4, generator=3e-3, betas=(0.2, 0.9), prior=7e-4)
    groups = {
        player: [(group["lr"], group["betas"]) for group in optimiser.param_groups]
        for player, optimiser in Step(gan, rates=rates).optimisers.items()
    }
    assert groups == {
        "discriminator": [(1e-4, (0.2, 0.9))],
        "generator": [(3e-3, (0.2, 0.9))],
        "prior": [(7e-4, (0.2, 0.9))],
    }


def update_of(part, objective, weight, real, player):
    """The gradient of one part after one player's step, everything seeded."""
    gan = build(dict.fromkeys(small_codes(), weight))
    step = Step(gan, objective, Rates(0.0, 0.0))
    torch.manual_seed(2)
    if player == "discriminator":
        step.update_discriminator(real, step.draw(len(real)))
    else:
        step.update_generator(step.draw(len(real)))
    return torch.cat([value.grad.flatten() for value in parameters(gan, part).values()])


@pytest.mark.parametrize(
    ("part", "player", "objective", "feels"),
    [
        ("trunk", "discriminator", INFOGAN, True),
        ("posterior", "discriminator", INFOGAN, True),
        ("discriminator", "discriminator", INFOGAN, False),
        ("generator", "generator", INFOGAN, True),
        ("trunk", "discriminator", Objective(info_updates_trunk=False), False),
        ("posterior", "discriminator", Objective(info_updates_trunk=False), True),
        ("generator", "generator", Objective(info_updates_trunk=False), True),
        ("trunk", "discriminator", PLAIN_GAN, False),
        ("posterior", "discriminator", PLAIN_GAN, True),
        ("generator", "generator", PLAIN_GAN, False),
    ],
)
def test_where_the_bound_goes(part, player, objective, feels, real):
    """A part feels L_I exactly where its gradient changes with λ."""
    weak, strong = (update_of(part, objective, weight, real, player) for weight in (0.5, 5.0))
    assert torch.equal(weak, strong) != feels


def test_a_baseline_differs_from_its_experiment_by_the_information_alone():
    mine = Objective(
        instance_noise=0.2,
        redraw=True,
        prior=PriorTerms(adversarial=0.5, wake=1.0),
        invariance=Invariance(Affine(), ("digit",)),
    )
    assert mine.without_information() == Objective(
        info_updates_trunk=False,
        info_updates_generator=False,
        instance_noise=0.2,
        redraw=True,
        prior=PriorTerms(adversarial=0.5),
    )


def test_gradients_equal_autograd_of_the_written_objective(real):
    """The discriminator's step descends −V − Σ λ L_I, computed here from its definition."""
    gan = build()
    step = Step(gan, rates=Rates(0.0, 0.0))
    torch.manual_seed(3)
    step.update_discriminator(real, step.draw(len(real)))
    ours = {name: value.grad.clone() for name, value in parameters(gan, "trunk").items()}

    torch.manual_seed(3)
    noise, codes = gan.draw(16)
    with torch.no_grad():
        generated = gan.decode(noise, codes)
    features, real_features = gan.trunk(generated), gan.trunk(real)
    fake, true = gan.discriminator(features).sigmoid(), gan.discriminator(real_features).sigmoid()
    value = true.log().mean() + (1 - fake).log().mean()
    posterior = gan.posterior(features)
    info = sum(
        gan.information_weights[name]
        * (posterior[name].log_prob(codes[name]) - prior.log_prob(codes[name])).mean()
        for name, prior in gan.prior.sites.items()
    )
    written = torch.autograd.grad(-value - info, list(gan.trunk.parameters()))
    for mine, theirs in zip(ours.values(), written, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-3)


def test_losses_are_the_game(real):
    logits = torch.randn(50, 1)
    other = torch.randn(50, 1)
    value = logits.sigmoid().log().mean() + (1 - other.sigmoid()).log().mean()
    torch.testing.assert_close(discriminator_loss(logits, other), -value)
    torch.testing.assert_close(generator_loss(other), -other.sigmoid().log().squeeze(-1))


def test_reported_values(real):
    losses = Step(build(), DISTORTED)(real)
    assert set(losses) == {
        "loss_d",
        "loss_g",
        "d_real",
        "d_fake",
        *(f"info/{name}" for name in small_codes()),
    }
    assert all(value.dim() == 0 and not value.requires_grad for value in losses.values())
    assert losses["info/digit"] <= 1.03  # H(digit) = 1.0297 nats


def test_bfloat16_scores_in_float32(real):
    losses = Step(build(), DISTORTED, precision=torch.bfloat16)(real)
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_an_invariance_to_nothing_is_the_plain_objective(real):
    """T = identity leaves the bound, and so the gradient of the posterior, as it was."""
    same = Objective(invariance=Invariance(lambda images: images, codes=("digit",), share=1.0))
    plain = update_of("generator", INFOGAN, 1.0, real, "generator")
    invariant = update_of("generator", same, 1.0, real, "generator")
    torch.testing.assert_close(plain, invariant, atol=1e-6, rtol=1e-4)


def test_only_the_chosen_codes_are_distorted(real):
    gone = Objective(invariance=Invariance(torch.zeros_like, codes=("digit",), share=1.0))
    gan = build({"digit": 0.0})
    step = Step(gan, gone, Rates(0.0, 0.0))
    torch.manual_seed(2)
    step.update_generator(step.draw(16))
    kept = [value.grad.clone() for value in gan.generator.parameters()]
    gan = build({"digit": 0.0})
    step = Step(gan, INFOGAN, Rates(0.0, 0.0))
    torch.manual_seed(2)
    step.update_generator(step.draw(16))
    for mine, plain in zip(kept, gan.generator.parameters(), strict=True):
        torch.testing.assert_close(mine, plain.grad, atol=1e-6, rtol=1e-4)


def test_bad_invariance_is_refused():
    with pytest.raises(DeclarationError, match="slnat"):
        Step(build(), Objective(invariance=Invariance(Affine(), codes=("slnat",))))
    with pytest.raises(DeclarationError, match=r"\[0, 1\]"):
        Invariance(Affine(), codes=("digit",), share=1.5)
    # Codes with one score together can only survive together.
    pair = {"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.0, 1.0)}
    joint = {("a", "b"): families.MultivariateNormal}
    gan = InfoGAN(pair, (1, 8, 8), noise=2, posterior=joint)
    with pytest.raises(DeclarationError, match="'a'"):
        Step(gan, Objective(invariance=Invariance(Affine(), codes=("a",))))
    Step(gan, Objective(invariance=Invariance(Affine(), codes=(("a", "b"),))))


def test_no_layer_forms_a_gradient_of_the_other_players_weights(monkeypatch):
    """Those with a backward pass of their own are not told what a pass is for."""
    made = []
    form = convolution._Shape.weight_gradient

    def counted(shape, images, gradient, weight):
        made.append((player, tuple(weight.shape), len(images)))
        return form(shape, images, gradient, weight)

    monkeypatch.setattr(convolution._Shape, "weight_gradient", counted)
    gan = InfoGAN(small_codes(), (1, 28, 28), noise=4).train()
    step = Step(gan)
    drawn = step.draw(4)
    player = "discriminator"
    step.update_discriminator(torch.rand(4, 1, 28, 28), drawn)
    player = "generator"
    step.update_generator(drawn)
    # Of real and generated images at once; and of the generator's.
    assert made == [("discriminator", (128, 64, 4, 4), 8), ("generator", (128, 64, 4, 4), 4)]
    assert all(weight.requires_grad for weight in gan.parameters())


class TestStrokes:
    """A bar three pixels wide, made bolder to five or finer to one."""

    bar = torch.zeros(300, 1, 9, 9)
    bar[..., 3:6] = 1.0

    def test_blends_are_of_maxima_and_minima(self):
        torch.manual_seed(0)
        images = torch.rand(200, 2, 7, 6)
        thick, thin = Strokes(bolder=1.0, finer=0.0), Strokes(bolder=0.0, finer=1.0)
        most = torch.nn.functional.max_pool2d(images, 3, 1, 1)
        least = -torch.nn.functional.max_pool2d(-images, 3, 1, 1)
        for distort, limit in ((thick, most), (thin, least)):
            share = (distort(images) - images) / (limit - images)
            moved = (limit - images).abs() > 0.1
            for one, there in zip(share, moved, strict=True):
                values = one[there]
                assert -1e-5 <= values.min() <= values.max() <= 1 + 1e-5
                assert values.max() - values.min() < 1e-4

    def test_bolder_and_finer_to_their_limits(self):
        widths = Strokes(bolder=1.0, finer=0.5)(self.bar)[:, 0, 4].sum(-1)
        assert 2.0 <= widths.min() < 2.1
        assert 4.9 < widths.max() <= 5.0
        # Evenly drawn from −0.5 to 1: a third finer.
        finer = (widths < 3.0).float().mean()
        assert abs(finer - 1 / 3) <= 4 * (2 / 9 / 300) ** 0.5

    def test_chained(self):
        torch.manual_seed(1)
        chained = Chain((Strokes(), Affine()))(self.bar)
        torch.manual_seed(1)
        torch.testing.assert_close(Affine()(Strokes()(self.bar)), chained)


class TestInks:
    """Images on white, with as much ink at every point."""

    def test_one_factor_for_an_image_drawn_evenly_in_its_logarithm(self):
        torch.manual_seed(0)
        ink = 1 - Inks(3.0)(torch.full((4_000, 1, 4, 4), 0.9, dtype=torch.float64))
        assert (ink == ink[:, :, :1, :1]).all()
        logs = (ink[:, 0, 0, 0] / 0.1).log() / math.log(3.0)
        # Evenly from −1 to 1: mean 0, variance 1/3, and 4/45 that of the squares.
        assert -1 <= logs.min() < -0.99
        assert 0.99 < logs.max() <= 1
        assert abs(logs.mean()) <= 4 * (1 / 3 / 4_000) ** 0.5
        assert abs(logs.square().mean() - 1 / 3) <= 4 * (4 / 45 / 4_000) ** 0.5

    def test_white_stays_white_and_nothing_is_darker_than_black(self):
        images = torch.rand(50, 1, 8, 8)
        images[:, :, 0] = 1.0
        inked = Inks(3.0)(images)
        assert (inked[:, :, 0] == 1).all()
        assert inked.min() == 0


class TestTints:
    """Colour images under another light."""

    def test_a_factor_for_each_channel_drawn_evenly_in_its_logarithm(self):
        torch.manual_seed(0)
        tinted = Tints(3.0)(torch.full((1_500, 3, 4, 4), 0.1, dtype=torch.float64))
        assert (tinted == tinted[:, :, :1, :1]).all()
        logs = (tinted[:, :, 0, 0] / 0.1).log() / math.log(3.0)
        # Evenly from −1 to 1: mean 0, variance 1/3, and 4/45 that of the squares.
        assert -1 <= logs.min() < -0.99
        assert 0.99 < logs.max() <= 1
        assert abs(logs.mean()) <= 4 * (1 / 3 / 4_500) ** 0.5
        assert abs(logs.square().mean() - 1 / 3) <= 4 * (4 / 45 / 4_500) ** 0.5
        # Of one image each apart from the others: products of two with mean 0 and variance 1/9.
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert abs((logs[:, one] * logs[:, other]).mean()) <= 4 * (1 / 9 / 1_500) ** 0.5

    def test_black_stays_black_and_nothing_is_brighter_than_white(self):
        images = torch.rand(50, 3, 8, 8)
        images[:, :, 0] = 0.0
        tinted = Tints(3.0)(images)
        assert (tinted[:, :, 0] == 0).all()
        assert tinted.max() == 1


@pytest.mark.parametrize("distortion", [Inks, Tints])
def test_factors_that_are_none_are_refused(distortion):
    for most in (0.5, -1.0, math.nan, math.inf):
        with pytest.raises(DeclarationError, match=rf"{distortion.__name__}\.most"):
            distortion(most)


@pytest.mark.parametrize(
    "settings",
    [
        (Affine, {"rotation": math.nan}),
        (Affine, {"scale": -5.0}),
        (Affine, {"fill": 2.0}),
        (Strokes, {"bolder": 7.0}),
        (Strokes, {"finer": -0.1}),
    ],
    ids=str,
)
def test_ranges_that_are_none_are_refused(settings):
    kind, ((name, value),) = settings[0], settings[1].items()
    with pytest.raises(DeclarationError, match=rf"{kind.__name__}\.{name}"):
        kind(**{name: value})


def moments(distortion):
    """Mean (n, 2) and covariance (n, 2, 2) of a round blot's brightness, distorted, in pixels.

    Across first, then down; the blot's own standard deviation is 6.
    """
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(72) - 35.5, torch.arange(96) - 47.5, indexing="ij")
    places = torch.stack([x, y], -1)
    blot = (-places.square().sum(-1) / 72).exp()
    seen = distortion(blot.expand(400, 1, -1, -1)).squeeze(1)
    share = (seen / seen.sum((1, 2), keepdim=True))[..., None]
    mean = (share * places).sum((1, 2))
    apart = places - mean[:, None, None]
    return mean, torch.einsum("nyxi,nyxj->nij", share * apart, apart)


def check_even(values, most):
    """Whether values are drawn evenly from −most to most."""
    # Between pixels a blot is a little wider.
    assert 0.97 * most < values.abs().max() < 1.02 * most
    assert abs(values.mean()) <= 4 * most / math.sqrt(3 * len(values))
    # The squares have variance 4/45.
    error = most**2 * math.sqrt(4 / 45 / len(values))
    assert abs(values.square().mean() - most**2 / 3) <= 4 * error


class TestAffine:
    images = torch.rand(6, 3, 12, 10)

    def test_what_is_not_mapped_is_filled(self):
        """White paper has no edge; and images on white go as their negatives on black do."""
        assert (Affine(shift=0.5, fill=1.0)(torch.ones(20, 1, 8, 8)) == 1).all()
        torch.manual_seed(0)
        on_white = Affine(fill=1.0)(self.images)
        torch.manual_seed(0)
        torch.testing.assert_close(on_white, 1 - Affine()(1 - self.images))

    def test_no_distortion_is_the_identity(self):
        still = Affine(rotation=0, shear=0, scale=0, shift=0)
        torch.testing.assert_close(still(self.images), self.images, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("shape", [(64, 64), (32, 64), (64, 16)])
    def test_a_turn_is_one_whatever_the_shape(self, shape):
        """A bar turns by up to 30°, and its angle is evenly drawn."""
        torch.manual_seed(0)
        height, width = shape
        y, x = torch.meshgrid(
            torch.arange(height) - (height - 1) / 2,
            torch.arange(width) - (width - 1) / 2,
            indexing="ij",
        )
        bar = ((y.abs() < 2) & (x.abs() < 6)).float().expand(400, 1, -1, -1)
        turned = Affine(rotation=30, shear=0, scale=0, shift=0)(bar).squeeze(1)
        mass = turned.sum((1, 2))
        xx, yy, xy = ((turned * each).sum((1, 2)) / mass for each in (x * x, y * y, x * y))
        angle = 0.5 * torch.atan2(2 * xy, xx - yy).rad2deg()
        assert 28.5 < angle.abs().max() < 31.5
        error = 30 / math.sqrt(3) / math.sqrt(len(angle))
        assert abs(angle.mean()) <= 4 * error
        assert abs(angle.square().mean().sqrt() - 30 / math.sqrt(3)) <= 2

    def test_each_image_gets_its_own(self):
        one = self.images[:1].expand(6, -1, -1, -1).contiguous()
        distorted = Affine()(one)
        assert distorted.shape == one.shape
        assert 0 <= distorted.min() <= distorted.max() <= 1 + 1e-6
        assert len({tuple(image.flatten().tolist()) for image in distorted}) == 6

    def test_a_shift_moves_as_far_as_it_says(self):
        """A centred dot, shifted at most a tenth of 40 pixels, stays within 4 pixels."""
        dot = torch.zeros(200, 1, 40, 40)
        dot[:, :, 19:21, 19:21] = 1.0
        moved = Affine(rotation=0, shear=0, scale=0, shift=0.1)(dot).sum(1)
        place = torch.arange(40.0) - 19.5
        across = (moved * place).sum((1, 2)) / moved.sum((1, 2))
        assert 3.0 < across.abs().max() <= 4.01

    def test_a_shear_is_one_on_an_image_that_is_not_square(self):
        """By how much a point moves across for each pixel down."""
        _, covariance = moments(Affine(rotation=0, shear=0.3, scale=0, shift=0))
        check_even(covariance[:, 0, 1] / covariance[:, 1, 1], 0.3)

    def test_width_and_height_change_each_by_itself(self):
        _, covariance = moments(Affine(rotation=0, shear=0, scale=0.2, shift=0))
        changes = 6 / covariance.diagonal(dim1=1, dim2=2).sqrt() - 1
        for each in changes.unbind(1):
            check_even(each, 0.2)
        # Independent numbers have correlations of standard deviation 1/√n.
        assert abs(torch.corrcoef(changes.T)[0, 1]) <= 4 / math.sqrt(len(changes))

    def test_a_shift_goes_along_either_axis_by_itself(self):
        mean, _ = moments(Affine(rotation=0, shear=0, scale=0, shift=0.1))
        for each, size in zip(mean.unbind(1), (96, 72), strict=True):
            check_even(each, 0.1 * size)
        assert abs(torch.corrcoef(mean.T)[0, 1]) <= 4 / math.sqrt(len(mean))

    def test_gradients_flow_through(self):
        images = self.images.clone().requires_grad_()
        Affine()(images).sum().backward()
        assert images.grad is not None
        assert images.grad.abs().sum() > 0


def test_every_image_the_trunk_sees_has_the_noise_of_the_objective(real):
    """Real and generated alike, in both updates, and none without it."""
    seen = []

    def spread(objective):
        gan = build()
        seen.clear()
        gan.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
        # A generator whose images are all black, of the shape of the real ones.
        gan.decode = lambda noise, codes: torch.zeros_like(real)
        step = Step(gan, objective, Rates(0.0, 0.0))
        drawn = step.draw(len(real))
        step.update_discriminator(torch.zeros_like(real), drawn)
        with contextlib.suppress(RuntimeError):  # nothing leads back to the generator
            step.update_generator(drawn)
        return [images.std().item() for images in seen]

    assert spread(INFOGAN) == [0.0] * 3
    error = 0.3 / math.sqrt(2 * real.numel())
    found = spread(Objective(instance_noise=0.3))
    assert len(found) == 3
    assert all(abs(value - 0.3) < 5 * error for value in found)
    with pytest.raises(DeclarationError, match="instance_noise"):
        Objective(instance_noise=-0.1)


@pytest.mark.parametrize("redraw", [False, True])
def test_the_generator_is_judged_by_the_same_images_or_by_its_own(redraw, real):
    gan = build()
    seen = []
    gan.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step = Step(gan, Objective(redraw=redraw))
    assert all(any(part.values()) for part in moved(lambda: step(real), gan).values())
    met, _, judged = seen
    assert torch.equal(met, judged) is not redraw
    assert not met.requires_grad
    assert judged.requires_grad
