"""Channels c → x whose mutual information is known, to hold the bound against.

Each is a code prior, a channel, and the exact posterior P(c | x), with which L_I = I(c; x); any
other posterior gives less, by E KL(P(c | x) ‖ Q(c | x)). The tests and RESULTS.md use them, and
they serve to teach with.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from scipy.special import xlogy
from torch import Tensor
from torch.distributions import Distribution

from ..codes import CodePrior, Declaration, Entropy, Key
from ..inference import Information, scores
from ..inference.families.bounded import TruncatedNormalDistribution

__all__ = [
    "Channel",
    "correlated_pair",
    "dependent_pair",
    "linear_gaussian",
    "symmetric",
    "uniform_plus_noise",
]

Posterior = Callable[[Tensor], Mapping[Key, Distribution]]
"""``posterior(x)`` gives a distribution for each code, or for several under a tuple of names."""


@dataclass(frozen=True)
class Channel:
    """A channel and what is known of it.

    Attributes:
        codes: the code prior's declaration.
        observe: codes (n, event shape) → x, with the channel's noise drawn anew.
        posterior: the exact P(c | x).
        information: I(c; x) in nats, of all codes together.
    """

    codes: Declaration
    observe: Callable[[Mapping[str, Tensor]], Tensor]
    posterior: Posterior
    information: float

    def bound(self, n: int, posterior: Posterior | None = None) -> Information:
        """L_I from ``n`` draws, in nats: of all codes together, with the joint entropy.

        Args:
            n: how many draws.
            posterior: Q(c | x); the exact posterior by default.

        Example:
            >>> channel = linear_gaussian(noise=0.5)
            >>> _ = torch.manual_seed(0)
            >>> found = channel.bound(20_000)
            >>> abs(found.bound - channel.information) < 4 * found.error
            True
        """
        prior = CodePrior(self.codes)
        codes = prior.draw(n)
        scored = scores(prior, (posterior or self.posterior)(self.observe(codes)), codes)
        joint = Entropy.together(prior.entropy().values())
        return Information.of(torch.stack(list(scored.values())).sum(0), joint)


def linear_gaussian(noise: float) -> Channel:
    """Normal: c ~ N(0, 1), x = c + N(0, σ²): I = ½ log(1 + 1/σ²)."""
    gain = 1 / (1 + noise**2)
    return Channel(
        {"c": dist.Normal(0.0, 1.0)},
        lambda codes: codes["c"] + noise * torch.randn_like(codes["c"]),
        lambda x: {"c": dist.Normal(gain * x, noise * math.sqrt(gain))},
        0.5 * math.log(1 + 1 / noise**2),
    )


def symmetric(categories: int, flip: float) -> Channel:
    """One of K categories, kept with probability 1 − ε, else another: I = H(c) − H(c | x)."""

    def observe(codes: Mapping[str, Tensor]) -> Tensor:
        c = codes["c"]
        moved = (c + torch.randint(1, categories, c.shape)) % categories
        return torch.where(torch.rand(c.shape) < flip, moved, c)

    def posterior(x: Tensor) -> dict[Key, Distribution]:
        probs = torch.where(F.one_hot(x, categories).bool(), 1 - flip, flip / (categories - 1))
        return {"c": dist.Categorical(probs)}

    kept = float(xlogy(1 - flip, 1 - flip) + xlogy(flip, flip / (categories - 1)))
    uniform = {"c": dist.Categorical(torch.ones(categories))}
    return Channel(uniform, observe, posterior, math.log(categories) + kept)


def uniform_plus_noise(noise: float) -> Channel:
    """Uniform: c ~ U(−1, 1), x = c + N(0, σ²), I = h(x) − ½ log 2πeσ² with h by quadrature.

    The exact posterior is the normal at x, truncated to the prior's interval.
    """

    def density(x: float) -> float:
        return float(stats.norm.cdf((x + 1) / noise) - stats.norm.cdf((x - 1) / noise)) / 2

    def surprise(x: float) -> float:
        p = density(x)
        return -p * math.log(p) if p > 0 else 0.0

    reach = 1 + 12 * noise
    entropy, _ = integrate.quad(surprise, -reach, reach, points=[-1, 1], limit=500)
    return Channel(
        {"c": dist.Uniform(-1.0, 1.0)},
        lambda codes: codes["c"] + noise * torch.randn_like(codes["c"]),
        lambda x: {"c": TruncatedNormalDistribution(x, torch.full_like(x, noise), -1.0, 1.0)},
        entropy - 0.5 * math.log(2 * math.pi * math.e * noise**2),
    )


def dependent_pair(noise: float) -> Channel:
    """A pair: b ~ Bernoulli(½), c | b ~ N(±1, 1), x = (b, c + N(0, σ²)).

    I = log 2 + ½ log(1 + 1/σ²).
    """

    def codes() -> None:
        b = pyro.sample("b", dist.Bernoulli(0.5))
        pyro.sample("c", dist.Normal(2 * b - 1, 1.0))

    def observe(codes: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([codes["b"], codes["c"] + noise * torch.randn_like(codes["c"])], -1)

    def posterior(x: Tensor) -> dict[Key, Distribution]:
        sign, gain = 2 * x[:, 0] - 1, 1 / (1 + noise**2)
        mean = sign + gain * (x[:, 1] - sign)
        # A logit of 100 is a certainty in float32.
        return {
            "b": dist.Bernoulli(logits=100 * sign),
            "c": dist.Normal(mean, noise * math.sqrt(gain)),
        }

    return Channel(codes, observe, posterior, math.log(2) + 0.5 * math.log(1 + 1 / noise**2))


def correlated_pair(noise: float) -> Channel:
    """Two causes: a, b ~ N(0, 1), x = a + b + N(0, σ²), I = ½ log(1 + 2/σ²).

    P(a, b | x) is correlated, so that every factored posterior loses information.
    """
    total = 2 + noise**2
    covariance = torch.eye(2) - torch.ones(2, 2) / total

    def posterior(x: Tensor) -> dict[Key, Distribution]:
        mean = (x / total).unsqueeze(-1).expand(*x.shape, 2)
        return {("a", "b"): dist.MultivariateNormal(mean, covariance)}

    return Channel(
        {"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.0, 1.0)},
        lambda codes: codes["a"] + codes["b"] + noise * torch.randn_like(codes["a"]),
        posterior,
        0.5 * math.log(1 + 2 / noise**2),
    )
