"""Batch norm's statistics for evaluation, of the weights as they are.

In training batch norm takes those of its batch, and in evaluation a running mean. That one is made
by weights that have moved on meanwhile, the newest counting most, so that a trained Q may read its
own images worse than it can. Means over several batches by one set of weights do not have this
(Wu & Johnson 2021, section 3).
"""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from ..images import scaled
from ..infogan import InfoGAN
from ..randomness import seeded

__all__ = ["renew_statistics"]

BATCHES = 20


class _Step(nn.Module):
    """What the networks meet in one step: images generated for either player, and real ones."""

    def __init__(self, gan: InfoGAN) -> None:
        super().__init__()
        self.gan = gan

    def forward(self, real: Tensor) -> None:
        gan = self.gan
        for _ in ("discriminator", "generator"):
            gan.posteriors(gan.decode(*gan.draw(len(real))))
        gan.posteriors(real)


def renew_statistics(gan: InfoGAN, images: Tensor, batch_size: int, seed: int) -> None:
    """Replace the running statistics of batch norm by means over 20 steps' images.

    Images are as in evaluation, without the noise or distortions that an objective may ask for.

    Args:
        gan: in training mode.
        images: real ones (n, C, H, W) to draw batches from, uint8 or floats in [0, 1].
        batch_size: of each batch, as in training.
        seed: of what is drawn; the caller's random state is left as it was.
    """

    def batch() -> Tensor:
        places = torch.randint(len(images), (batch_size,)).to(images.device)
        return scaled(images[places].to(gan.device))

    # Compiled networks would be compiled again for these few passes.
    with seeded(seed), torch.compiler.set_stance("force_eager"):
        update_bn((batch() for _ in range(BATCHES)), _Step(gan))
