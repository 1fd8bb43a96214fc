"""Batch norm's statistics for evaluation, of the weights as they are.

In training batch norm takes those of its batch, and in evaluation a running mean. That one is made
by weights that have moved on meanwhile, the newest counting most, so that a trained Q may read its
own images worse than it can. Means over several batches by one set of weights do not have this
(Wu & Johnson 2021, section 3).
"""

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..images import scaled
from ..infogan import InfoGAN
from ..randomness import seeded

__all__ = ["renew_statistics"]

BATCHES = 20


@torch.no_grad()
def renew_statistics(
    gan: InfoGAN, images: Tensor, batch_size: int, seed: int, q_meets_real: bool = False
) -> None:
    """Replace the running statistics of batch norm by means over 20 steps' images.

    Of a step the trunk meets two batches of generated images, one for either player, and one of
    real ones. Here they are without the noise or distortions that an objective may ask for, and the
    two are drawn apart. Layers of batch norm that are in evaluation mode, that have a momentum of
    0, or that none of these images passes, keep what they have, and so does every other buffer.

    Args:
        gan: in training mode.
        images: real ones (n, C, H, W) to draw batches from, uint8 or floats in [0, 1].
        batch_size: of each batch, as in training.
        seed: of what is drawn; the caller's random state is left as it was.
        q_meets_real: whether Q reads real images in training, as it does those with labels, and all
            of them for a prior that learns by its wake term.
    """
    layers = [
        layer
        for layer in gan.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        and layer.training
        and layer.track_running_stats
        and layer.num_batches_tracked is not None
        and layer.running_mean is not None
        and not is_lazy(layer.running_mean)
        and layer.momentum != 0
    ]
    momenta = [layer.momentum for layer in layers]
    # Passes in training mode may move others too, such as spectral norm's vectors.
    kept = [
        (owner, name, buffer, buffer.clone())
        for owner in gan.modules()
        for name, buffer in owner.named_buffers(recurse=False)
        if not is_lazy(buffer)
    ]
    try:
        for layer in layers:
            layer.reset_running_stats()
            # A mean in which each batch counts alike.
            layer.momentum = None
        # Compiled networks would be compiled again for these few passes.
        with seeded(seed), torch.compiler.set_stance("force_eager"):
            for _ in range(BATCHES):
                places = torch.randint(len(images), (batch_size,)).to(images.device)
                for _ in ("discriminator", "generator"):
                    gan.posteriors(gan.decode(*gan.draw(batch_size)))
                features = gan.trunk(scaled(images[places].to(gan.device)).to(gan.dtype))
                if q_meets_real:
                    gan.posterior(features)
        renewed = {layer for layer in layers if layer.num_batches_tracked}
        kept = [each for each in kept if each[0] not in renewed]
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for owner, name, buffer, before in kept:
            # The buffer itself, in whose place a module may have put another.
            setattr(owner, name, buffer.copy_(before))
