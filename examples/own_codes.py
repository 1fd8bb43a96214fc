"""An experiment of your own: declare codes, and train them from the command line.

    pyro-infogan train examples/own_codes.py
    pyro-infogan figures runs/strokes

Every part follows from the declaration: networks, encodings, posterior heads, entropies, weights
and figures. This one asks for a digit, a boolean and three styles at once, and gives the styles
less weight.
"""

import pyro.distributions as dist
import torch

from pyro_infogan import Experiment, datasets

strokes = Experiment(
    codes={
        "digit": dist.Categorical(torch.ones(10)),
        "bold": dist.Bernoulli(0.5),
        "style": dist.Normal(0.0, 1.0).expand([3]).to_event(1),
    },
    image_shape=(1, 28, 28),
    data=datasets.mnist,
    information_weights={"style": 0.05},
    steps=1_000,
)
