"""3D chairs: three Cat(20) and one U(−1, 1), networks and rates of appendix C; Figure 4.

``chairs_small`` is not the paper's: what a CPU can train.
"""

from dataclasses import replace
from functools import partial

import pyro.distributions as dist
import torch

from .. import datasets
from ..inference import PAPER_RATES, Affine, Chain, Inks, Invariance, Objective, families
from .experiment import Experiment, Variation
from .networks import paper_chairs, paper_faces

__all__ = ["chairs", "chairs_small"]

kinds = {f"k{number}": dist.Categorical(torch.ones(20)) for number in range(1, 4)}

# With λ = 10 belongs a posterior of fixed width, as the official code has. Where it is learned, the
# noise of the score's gradient, λ (c − μ) / σ², drowns the game.
fixed = {"c1": partial(families.FixedNormal, std=0.7)}
rotation = Variation(PAPER_RATES, {**dict.fromkeys(kinds, 1.0), "c1": 10.0}, fixed)
width = Variation(PAPER_RATES, {**dict.fromkeys(kinds, 2.0), "c1": 0.05}, {})

chairs = Experiment(
    codes={**kinds, "c1": dist.Uniform(-1.0, 1.0)},
    image_shape=(1, 64, 64),
    data=datasets.rendered_chairs,
    real=datasets.chairs,
    noise=128,
    # Not the paper's: drawn images have no grain, by which the discriminator would tell them.
    objective=Objective(instance_noise=0.1),
    networks=paper_chairs,
    posterior=fixed,
    information_weights=rotation.information_weights,
    variations={"rotation": rotation, "width": width},
)

# For a CPU: small images, and networks for them. The λ are those with which kinds and number share
# the image, and the number must be read in any ink, and at any width and height of a chair: else it
# takes these in place of the rotation, or beside it (RESULTS.md).
inks_and_sizes = Chain((Inks(), Affine(rotation=0.0, shear=0.0, scale=0.3, fill=1.0)))
chairs_small = replace(
    chairs,
    image_shape=(1, 32, 32),
    data=partial(datasets.rendered_chairs, size=32),
    real=partial(datasets.chairs, size=32),
    networks=paper_faces,
    objective=Objective(instance_noise=0.1, invariance=Invariance(inks_and_sizes, codes=("c1",))),
    posterior={"c1": partial(families.FixedNormal, std=0.3)},
    information_weights={**dict.fromkeys(kinds, 0.1), "c1": 0.2},
    variations={},
    steps=2_000,
    batch_size=64,
)
