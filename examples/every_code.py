"""A code of every kind: declare it, and its posterior, entropy, weight and pictures follow.

    python examples/every_code.py

Prints what each declaration leads to, and L_I of the untrained networks, in nats. Nothing is
trained: of images that tell nothing yet, no bound is above 0.
"""

import pyro
import pyro.distributions as dist
import torch

from pyro_infogan import InfoGAN
from pyro_infogan.inference import Information

CODES = {
    # kinds
    "digit": dist.Categorical(torch.ones(10)),
    "hot": dist.OneHotCategorical(torch.ones(3)),
    "bold": dist.Bernoulli(0.5),
    # how many
    "tosses": dist.Binomial(5, torch.tensor(0.5)),
    "dots": dist.Poisson(3.0),
    # numbers: with ends, without, and with one
    "slant": dist.Uniform(-1.0, 1.0),
    "style": dist.Normal(0.0, 1.0).expand([3]).to_event(1),
    "gap": dist.Exponential(1.0),
    # what goes round, and what points somewhere
    "turn": dist.VonMises(0.0, 0.01),
    "way": dist.ProjectedNormal(torch.zeros(3)),
    # parts of a whole
    "mix": dist.Dirichlet(torch.ones(3)),
}


def main() -> dict[str, Information]:
    """Declare all at once, and say what came of it."""
    pyro.set_rng_seed(0)
    gan = InfoGAN(CODES, image_shape=(1, 28, 28)).eval()
    print(gan)
    found = {str(name): info for name, info in gan.information(2_000).items()}
    for name, info in found.items():
        print(f"L_I({name}) = {info}")
    return found


if __name__ == "__main__":
    main()
