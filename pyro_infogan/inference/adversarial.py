"""The adversarial game: losses of the two players, on the discriminator's logits (n, 1).

V(D, G) = E[log D(x)] + E[log(1 − D(G(z, c)))] (Goodfellow et al. 2014, equation 1), in nats.
"""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["discriminator_loss", "generator_loss"]


def discriminator_loss(real: Tensor, generated: Tensor) -> Tensor:
    """−V: what the discriminator minimises; 2 log 2 ≈ 1.386 where it cannot tell."""
    return F.softplus(-real.float()).mean() + F.softplus(generated.float()).mean()


def generator_loss(generated: Tensor) -> Tensor:
    """−log D(G(z, c)) of each image, (n,): the non-saturating form, which the paper's code uses."""
    return F.softplus(-generated.float()).squeeze(-1)
