"""The bound, on channels whose mutual information is known."""

import math

import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from pyro_infogan import InfoGAN
from pyro_infogan.codes import CodePrior, Entropy
from pyro_infogan.evaluation import channels
from pyro_infogan.inference import Information, scores

N = 50_000


def bound_of(prior, posterior, values):
    codes = CodePrior({"c": prior})
    return Information.of(scores(codes, {"c": posterior}, {"c": values})["c"], codes.entropy()["c"])


CHANNELS = [
    *(channels.linear_gaussian(noise) for noise in (0.3, 1.0, 3.0)),
    *(channels.symmetric(5, flip) for flip in (0.05, 0.3)),
    *(channels.uniform_plus_noise(noise) for noise in (0.1, 0.5, 2.0)),
    channels.dependent_pair(0.5),
    channels.correlated_pair(0.3),
]


@pytest.mark.parametrize(("flip", "kept"), [(0.0, math.log(5)), (1.0, math.log(5 / 4))])
def test_a_channel_that_keeps_or_moves_all_has_what_is_left(flip, kept):
    assert channels.symmetric(5, flip).information == pytest.approx(kept)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: f"{channel.information:.3f}")
def test_the_exact_posterior_has_all_of_the_information(channel):
    found = channel.bound(N)
    assert abs(found.bound - channel.information) <= 4 * found.error


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: f"{channel.information:.3f}")
def test_a_posterior_of_other_images_has_less(channel):
    """Shuffled, it says nothing of its own image: below I, and below 0 unless it is the prior."""

    def shuffled(x):
        return channel.posterior(x[torch.randperm(len(x))])

    assert channel.bound(N, shuffled).bound < min(channel.information, 0.0)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_the_gap_of_a_shifted_normal_is_its_divergence(noise):
    """E KL(P‖Q) of normals with one scale and means half a unit apart."""
    channel, gain = channels.linear_gaussian(noise), 1 / (1 + noise**2)
    other = channel.bound(N, lambda x: {"c": dist.Normal(gain * x + 0.5, noise * gain**0.5)})
    gap = 0.5**2 / (2 * noise**2 * gain)
    assert abs(other.bound - (channel.information - gap)) <= 4 * other.error


def test_the_gap_of_an_untruncated_normal_is_what_it_leaks():
    """Renormalising to (−1, 1) is all that parts it from the exact posterior."""
    channel = channels.uniform_plus_noise(0.5)
    leaks = channel.bound(N, lambda x: {"c": dist.Normal(x, 0.5)})
    x = channel.observe({"c": dist.Uniform(-1.0, 1.0).sample((N,))})
    normal = dist.Normal(x, 0.5)
    lost = -(normal.cdf(torch.tensor(1.0)) - normal.cdf(torch.tensor(-1.0))).log()
    error = math.hypot(leaks.error, lost.std().item() / math.sqrt(N))
    assert abs(channel.information - leaks.bound - lost.mean().item()) <= 4 * error


def test_the_bound_of_a_discrete_code_stays_below_its_entropy():
    channel = channels.symmetric(5, 0.05)
    bold = channel.bound(N, lambda x: channels.symmetric(5, 0.001).posterior(x))
    assert bold.bound <= channel.information + 4 * bold.error
    assert channel.bound(N).bound <= math.log(5)


def test_images_that_say_nothing_give_no_information():
    """Where x is independent of c, L_I ≤ 0 for every Q, and 0 only for the prior itself."""
    prior = dist.Uniform(-1.0, 1.0)
    c = prior.sample((N,))
    blind = bound_of(prior, dist.Uniform(-torch.ones(N), 1.0), c)
    assert blind.bound == pytest.approx(0.0, abs=1e-6)
    guess = bound_of(prior, dist.Normal(torch.randn(N) / 2, 0.5), c)
    assert guess.bound <= 4 * guess.error


def test_a_perfect_reader_of_a_category_reaches_its_entropy():
    prior = dist.Categorical(torch.tensor([0.5, 0.3, 0.2]))
    c = prior.sample((N,))
    perfect = bound_of(prior, dist.Categorical(logits=50.0 * F.one_hot(c, 3)), c)
    assert abs(perfect.bound - perfect.entropy) <= 4 * perfect.error


def test_the_prior_is_scored_by_its_own_density():
    """U(0, 360) has log p = −log 360: a Q with deviation σ is worth log 360 − ½ log 2πeσ²."""
    prior = dist.Uniform(0.0, 360.0)
    c = prior.sample((N,))
    read = c + 2.0 * torch.randn(N)
    info = bound_of(prior, dist.Normal(read, 2.0), c)
    truth = math.log(360.0) - 0.5 * math.log(2 * math.pi * math.e * 4.0)
    assert abs(info.bound - truth) <= 4 * info.error


def test_information_of_an_infogan_agrees_with_its_own_pieces():
    gan = InfoGAN(
        {"digit": dist.Categorical(torch.ones(4)), "u": dist.Uniform(-1.0, 1.0)}, (1, 8, 8)
    )
    gan.eval()
    info = gan.information(4_000)
    assert list(info) == ["digit", "u"]
    with torch.no_grad():
        noise, codes = gan.draw(4_000)
        again = scores(gan.prior, gan.posteriors(gan.decode(noise, codes)), codes)
    for name, value in info.items():
        other = Information.of(again[name], Entropy(gan.entropies[name]))
        assert abs(value.bound - other.bound) <= 4 * math.hypot(value.error, other.error)
        assert value.entropy == pytest.approx(gan.entropies[name])
    assert info["digit"].bound <= info["digit"].entropy


def test_information_needs_two_draws_and_keeps_the_mode(gan):
    gan.train()
    with pytest.raises(ValueError, match="2 or more"):
        gan.information(1)
    gan.information(8)
    assert gan.training
    assert gan.trunk.training
