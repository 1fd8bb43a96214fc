"""CelebA: ten Cat(10), networks of appendix C; Figure 6."""

from dataclasses import replace

import pyro.distributions as dist
import torch

from .. import datasets
from ..inference import PAPER_RATES, Affine, Chain, Invariance, Objective, Tints
from .experiment import Experiment, Variation
from .networks import paper_colour

__all__ = ["celeba"]

kinds = {f"k{number}": dist.Categorical(torch.ones(10)) for number in range(1, 11)}

# Not the paper's: drawn images have no grain, by which the discriminator would tell them.
grain = Objective(instance_noise=0.1)

# Nor this: categories write themselves into colours and places, and have no need of glasses. Those
# that must be read in any light and any place take what is left to see (RESULTS.md).
lights_and_places = Chain((Tints(), Affine(rotation=10.0, shear=0.1)))
glasses = Variation(
    PAPER_RATES,
    {},
    objective=replace(grain, invariance=Invariance(lights_and_places, codes=tuple(kinds))),
)

celeba = Experiment(
    codes=kinds,
    image_shape=(3, 32, 32),
    data=datasets.portraits,
    real=datasets.celeba,
    noise=128,
    objective=grain,
    networks=paper_colour,
    variations={"glasses": glasses},
)
