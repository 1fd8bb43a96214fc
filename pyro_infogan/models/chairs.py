"""3D chairs: three Cat(20) and one U(−1, 1), networks and rates of appendix C; Figure 4."""

from functools import partial

import pyro.distributions as dist
import torch

from .. import datasets
from ..inference import PAPER_RATES, Objective, families
from .experiment import Experiment, Variation
from .networks import paper_chairs

__all__ = ["chairs"]

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
