"""Digits that are not equally frequent: a prior that learns against one that is fixed.

    python benchmarks/seeds.py benchmarks/imbalance.py:learned --seeds 3
    python benchmarks/seeds.py benchmarks/imbalance.py:fixed --seeds 3

Each even digit is there once for every five of an odd one. A uniform prior has ten equal categories
to give away, so that big digits are split and small ones share. In ``learned`` the prior becomes
what Q finds among the real images, with some weight on H(c), so that rare categories do not die.
In ``generator`` it goes by the generator's own loss instead, L_I with its H(c) included, which
leaves it near the uniform one.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_infogan import InfoGAN, PriorTerms, Rates, datasets
from pyro_infogan.datasets import ImageSet
from pyro_infogan.evaluation import clusterings
from pyro_infogan.models.mnist import mnist

RATIO = 5


def imbalanced(train: bool = True) -> ImageSet:
    """MNIST with all that the rarest odd digit allows of each odd one, a fifth of that of even."""
    digits = datasets.mnist(train)
    of = [(digits.labels == digit).nonzero().squeeze(-1) for digit in range(10)]
    most = min(len(of[digit]) for digit in range(1, 10, 2))
    kept = [indices[: most if digit % 2 else most // RATIO] for digit, indices in enumerate(of)]
    return digits.subset(torch.cat(kept))


class Learned(nn.Module):
    """Categories whose probabilities are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(10))

    def forward(self) -> None:
        """Sample the code."""
        pyro.sample("digit", dist.Categorical(logits=self.logits))


fixed = replace(
    mnist, codes={"digit": dist.Categorical(torch.ones(10))}, data=imbalanced, steps=1_500
)
generator = replace(fixed, codes=Learned())
found = PriorTerms(adversarial=0.0, information=0.0, wake=1.0, entropy=0.2)
learned = replace(
    generator, objective=replace(mnist.objective, prior=found), rates=Rates(prior=0.03)
)


def main() -> None:
    """Print, for each run folder, what share of the prior each digit has, beside its true one."""
    true = torch.tensor([1.0, RATIO]).repeat(5) / (5 + 5 * RATIO)
    print("digit's share:", " ".join(f"{share:.3f}" for share in true.tolist()))
    for folder in sys.argv[1:]:
        gan = InfoGAN.load(Path(folder))
        every = torch.arange(10)
        with torch.no_grad():
            probs = gan.prior.log_prob({"digit": every})["digit"].exp()
        found = clusterings(gan, imbalanced(train=False))["digit"]
        # A category stands for the digit that most of its images show.
        shown = torch.tensor(found.confusion).argmax(1)
        share = torch.zeros(10).index_add(0, shown, probs)
        print(
            f"{folder}: {' '.join(f'{value:.3f}' for value in share.tolist())}; "
            f"odd digits {share[1::2].sum():.3f} of {true[1::2].sum():.3f}, "
            f"total variation {(share - true).abs().sum() / 2:.3f}, "
            f"accuracy {found.accuracy:.4f}, NMI {found.nmi:.4f}"
        )


if __name__ == "__main__":
    main()
