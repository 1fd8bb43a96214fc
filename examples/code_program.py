"""Codes that depend on each other, or learn: a Pyro program in place of the dictionary.

    pyro-infogan train examples/code_program.py:dependent
    pyro-infogan train examples/code_program.py:learned

One `pyro.sample` statement a code, written for a batch: the program runs inside the plate of
images, so that `digit` is a tensor of one category an image. A program with tensors or parameters
of its own is a torch module, and its parameters are trained with the generator's.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_infogan import Experiment, datasets


def leaning_digits() -> None:
    """A category, and a slant that depends on it."""
    # How far each category leans on average: one value a category.
    leaning = torch.linspace(-1.0, 1.0, 10)
    digit = pyro.sample("digit", dist.Categorical(torch.ones(10)))
    pyro.sample("slant", dist.Normal(leaning[digit], 0.5))


class UnequalDigits(nn.Module):
    """Ten categories whose probabilities are learned: H(c) is optimised too."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(10))

    def forward(self) -> None:
        """Sample the codes."""
        pyro.sample("digit", dist.Categorical(logits=self.logits))
        pyro.sample("slant", dist.Uniform(-1.0, 1.0))


dependent = Experiment(leaning_digits, image_shape=(1, 28, 28), data=datasets.mnist, steps=1_000)
learned = Experiment(UnequalDigits(), image_shape=(1, 28, 28), data=datasets.mnist, steps=1_000)
