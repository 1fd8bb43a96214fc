"""3D faces: five U(−1, 1), networks and rates of appendix C; Figure 3."""

import pyro.distributions as dist

from .. import datasets
from ..inference import Objective, Rates
from .experiment import Experiment, Variation
from .networks import paper_faces

__all__ = ["faces"]

codes = {f"c{number}": dist.Uniform(-1.0, 1.0) for number in range(1, 6)}

azimuth = Variation(Rates(discriminator=2e-4, generator=5e-4), dict.fromkeys(codes, 0.2))
elevation = Variation(Rates(discriminator=4e-4, generator=3e-4), dict.fromkeys(codes, 0.1))
lighting = width = Variation(Rates(discriminator=8e-4, generator=3e-4), dict.fromkeys(codes, 0.1))

faces = Experiment(
    codes=codes,
    image_shape=(1, 32, 32),
    data=datasets.rendered_faces,
    real=datasets.faces,
    noise=128,
    # Not the paper's: drawn images have no grain, by which the discriminator would tell them.
    objective=Objective(instance_noise=0.1),
    networks=paper_faces,
    rates=azimuth.rates,
    information_weights=azimuth.information_weights,
    variations={
        "azimuth": azimuth,
        "elevation": elevation,
        "lighting": lighting,
        "width": width,
    },
)
