"""What moves the accuracy on MNIST: one change at a time, as experiments.

    python benchmarks/seeds.py benchmarks/study.py:with_strokes

RESULTS.md has what they gave.
"""

from dataclasses import replace
from functools import partial

from pyro_infogan import Affine, Chain, Invariance, Objective, Rates, Strokes, families
from pyro_infogan.models.mnist import mnist, mnist_paper


def distorted(distort, share: float = 1.0) -> Objective:
    """The objective of ``mnist`` with another distortion, or another share of it."""
    return Objective(invariance=Invariance(distort, codes=("digit",), share=share))


def floored(floor: float) -> dict:
    """Continuous posteriors with another least standard deviation."""
    return dict.fromkeys(("slant", "width"), partial(families.Normal, floor=floor))


# With invariance: which distortions, and how much of them.
with_strokes = replace(mnist, objective=distorted(Chain((Strokes(), Affine()))))
share_half = replace(mnist, objective=distorted(Affine(), share=0.5))

# The paper's objective alone, with another setting.
noise_16 = replace(mnist_paper, noise=16)
floor_03 = replace(mnist_paper, posterior=floored(0.3))
no_floor = replace(mnist_paper, posterior=floored(0.0))
continuous_weight_1 = replace(mnist_paper, information_weights={"slant": 1.0, "width": 1.0})
slow_generator = replace(mnist_paper, rates=Rates(generator=2e-4))
