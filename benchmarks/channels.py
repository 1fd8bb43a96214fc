"""The bound on channels whose mutual information is known: RESULTS.md's table.

python benchmarks/channels.py
"""

import math

import pyro.distributions as dist
import torch

from pyro_infogan.evaluation import channels

DRAWS = 1_000_000


def main() -> None:
    """Print I(c; x), and L_I with the exact posterior and with another, in nats."""
    torch.manual_seed(0)
    gain = 1 / (1 + 0.3**2)
    wide = {"c": lambda x: dist.Normal(gain * x, 2 * 0.3 * gain**0.5)}
    rows = [
        ("linear-Gaussian, σ = 0.3", channels.linear_gaussian(0.3), "twice as wide", wide),
        (
            "symmetric, 5 categories, ε = 0.1",
            channels.symmetric(5, 0.1),
            "always 99 % sure",
            {"c": lambda x: channels.symmetric(5, 0.01).posterior(x)["c"]},
        ),
        (
            "uniform plus noise, σ = 0.3",
            channels.uniform_plus_noise(0.3),
            "normal, not truncated",
            {"c": lambda x: dist.Normal(x, 0.3)},
        ),
        (
            "dependent pair, σ = 0.5",
            channels.dependent_pair(0.5),
            "b unseen",
            {
                "b": lambda x: dist.Bernoulli(0.5 * torch.ones(len(x))),
                "c": lambda x: channels.dependent_pair(0.5).posterior(x)["c"],
            },
        ),
        (
            "correlated pair, σ = 0.3",
            channels.correlated_pair(0.3),
            "best factored normal",
            {name: lambda x: dist.Normal(x / 2.09, math.sqrt(1 - 1 / 2.09)) for name in "ab"},
        ),
    ]
    print("| channel | I(c; x) | L_I, exact posterior | another posterior | its L_I |")
    print("|---|---|---|---|---|")
    for name, channel, described, other in rows:
        exact = channel.bound(DRAWS)
        less = channel.bound(DRAWS, lambda x, other=other: {key: q(x) for key, q in other.items()})
        print(
            f"| {name} | {channel.information:.4f} | {exact.bound:.4f} ± {exact.error:.4f} | "
            f"{described} | {less.bound:.4f} ± {less.error:.4f} |"
        )


if __name__ == "__main__":
    main()
