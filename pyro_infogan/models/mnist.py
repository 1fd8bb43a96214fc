"""MNIST, the paper's first experiment: Cat(10) and two U(−1, 1), networks of appendix C.1."""

from dataclasses import replace
from operator import attrgetter

import pyro.distributions as dist
import torch

from ..datasets import mnist as images
from ..inference import Affine, Chain, Invariance, Objective, Strokes
from .experiment import Experiment

__all__ = ["mnist", "mnist_digit", "mnist_paper"]

digit = dist.Categorical(torch.ones(10))

# Appendix C.1 as it stands: the paper's objective alone.
mnist_paper = Experiment(
    codes={"digit": digit, "slant": dist.Uniform(-1.0, 1.0), "width": dist.Uniform(-1.0, 1.0)},
    image_shape=(1, 28, 28),
    data=images,
    labels={"digit": attrgetter("labels")},
    steps=2_500,
)

# A digit stays itself when it is turned, sheared or widened, and in bolder or finer strokes. What
# the distortions leave out, two categories may split between them: RESULTS.md has the cases.
handwriting = Chain((Strokes(), Affine(rotation=20.0, shear=0.4, scale=0.2)))
mnist = replace(
    mnist_paper, objective=Objective(invariance=Invariance(handwriting, codes=("digit",)))
)

# Figure 1: the categorical code alone.
mnist_digit = replace(mnist_paper, codes={"digit": digit}, steps=1_000)
