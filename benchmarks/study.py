"""What moves the accuracy on MNIST: one change at a time, as experiments.

    pyro-infogan train benchmarks/study.py:noise_16 --out runs/study/noise_16

RESULTS.md has what they gave.
"""

from dataclasses import replace
from functools import partial

from pyro_infogan import Affine, Invariance, Objective, Rates, families
from pyro_infogan.models.mnist import mnist, mnist_paper

STEPS = 1_000


def distorted(distort: Affine, share: float) -> Objective:
    """The objective of ``mnist`` with other distortions."""
    return Objective(invariance=Invariance(distort, codes=("digit",), share=share))


def floored(floor: float) -> dict:
    """Continuous posteriors with another least standard deviation."""
    return dict.fromkeys(("slant", "width"), partial(families.Normal, floor=floor))


with_invariance = replace(mnist, steps=STEPS)
share_1 = replace(with_invariance, objective=distorted(Affine(), 1.0))
half_as_far = replace(with_invariance, objective=distorted(Affine(7.5, 0.1, 0.075, 0.05), 0.5))

paper = replace(mnist_paper, steps=STEPS)
noise_16 = replace(paper, noise=16)
floor_03 = replace(paper, posterior=floored(0.3))
no_floor = replace(paper, posterior=floored(0.0))
continuous_weight_1 = replace(paper, information_weights={"slant": 1.0, "width": 1.0})
slow_generator = replace(paper, rates=Rates(generator=2e-4))
