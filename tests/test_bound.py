"""The bound, on channels whose mutual information is known."""

import math

import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from pyro_infogan import InfoGAN
from pyro_infogan.codes import CodePrior, Entropy
from pyro_infogan.inference import Information, scores

N = 50_000


def bound_of(prior, posterior, values):
    codes = CodePrior({"c": prior})
    return Information.of(scores(codes, {"c": posterior}, {"c": values})["c"], codes.entropy()["c"])


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_linear_gaussian_channel(noise):
    """c ~ N(0, 1), x = c + N(0, σ²): I = ½ log(1 + 1/σ²), and P(c | x) is normal."""
    truth = 0.5 * math.log(1 + 1 / noise**2)
    prior = dist.Normal(0.0, 1.0)
    c = prior.sample((N,))
    x = c + noise * torch.randn(N)
    gain = 1 / (1 + noise**2)
    exact = bound_of(prior, dist.Normal(gain * x, noise * gain**0.5), c)
    assert abs(exact.bound - truth) <= 4 * exact.error
    # Any other Q loses E KL(P‖Q), here of normals with one scale and shifted means.
    shift = 0.5
    other = bound_of(prior, dist.Normal(gain * x + shift, noise * gain**0.5), c)
    gap = shift**2 / (2 * noise**2 * gain)
    assert other.bound <= truth + 4 * other.error
    assert abs(other.bound - (truth - gap)) <= 4 * other.error


@pytest.mark.parametrize("flip", [0.05, 0.3])
def test_symmetric_channel(flip):
    """K categories, kept with probability 1 − ε, else another one: I = H(c) − H(noise)."""
    k = 5
    truth = math.log(k) + (1 - flip) * math.log(1 - flip) + flip * math.log(flip / (k - 1))
    prior = dist.Categorical(torch.ones(k))
    c = prior.sample((N,))
    moved = (c + torch.randint(1, k, (N,))) % k
    x = torch.where(torch.rand(N) < flip, moved, c)
    probs = torch.where(F.one_hot(x, k).bool(), 1 - flip, flip / (k - 1))
    exact = bound_of(prior, dist.Categorical(probs), c)
    assert abs(exact.bound - truth) <= 4 * exact.error
    assert exact.bound <= exact.entropy
    bold = bound_of(prior, dist.Categorical(probs**2), c)
    assert bold.bound <= truth + 4 * bold.error


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
