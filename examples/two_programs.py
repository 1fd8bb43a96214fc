"""An InfoGAN is two Pyro programs: condition, hold, trace and score them as any other.

python examples/two_programs.py
"""

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Predictive

from pyro_infogan import InfoGAN


def main() -> None:
    torch.manual_seed(0)
    codes = {"digit": dist.Categorical(torch.ones(10)), "slant": dist.Uniform(-1.0, 1.0)}
    gan = InfoGAN(codes, image_shape=(1, 28, 28)).eval()

    # The generative program, traced: noise and every code are sites.
    trace = poutine.trace(gan.model).get_trace(100)
    images = trace.nodes["_RETURN"]["value"]
    print("the plate and its sites:", trace.stochastic_nodes)

    # Holding a code is Pyro's do.
    held = poutine.do(gan.model, {"digit": torch.tensor(3)})
    print("held:", tuple(held(5).shape))

    # The bound: the guide's log-probability at the model's codes, less the prior's.
    guide = poutine.trace(poutine.replay(gan.guide, trace)).get_trace(images)
    guide.compute_log_prob()
    trace.compute_log_prob()
    for name in codes:
        score = guide.nodes[name]["log_prob"] - trace.nodes[name]["log_prob"]
        print(f"L_I({name}) of an untrained Q: {score.mean().item():.3f} nats")

    # Many draws of the posterior of some images.
    draws = Predictive(gan.guide, num_samples=50, parallel=True)(images[:4])
    print("posterior draws of slant:", tuple(draws["slant"].shape))


if __name__ == "__main__":
    main()
