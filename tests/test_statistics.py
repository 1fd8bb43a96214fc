"""Batch norm's statistics after training are those of the last weights."""

from collections import defaultdict

import torch
from torch import nn

from pyro_infogan.images import scaled
from pyro_infogan.randomness import seeded
from pyro_infogan.training import loop, statistics
from tests.test_training import build, fit

BATCH, MANY = 8, 200


def norms(gan):
    return [
        module for module in gan.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


@torch.no_grad()
def standardised(gan, images):
    """How many standard errors the running means are from those of many fresh batches.

    The mean over 20 steps is one of 20 sums of three independent batches' means: two generated, one
    real.
    """
    kept = [buffer.clone() for buffer in gan.buffers()]
    met = defaultdict(lambda: defaultdict(list))
    kind = ""

    def see(layer, inputs):
        met[layer][kind].append(inputs[0].mean([0, *range(2, inputs[0].dim())]))

    hooks = [layer.register_forward_pre_hook(see) for layer in norms(gan)]
    gan.train()
    with seeded(1):
        for _ in range(MANY):
            kind = "generated"
            gan.posteriors(gan.decode(*gan.draw(BATCH)))
            kind = "real"
            gan.posteriors(scaled(images[torch.randint(len(images), (BATCH,))]))
    for hook in hooks:
        hook.remove()
    for buffer, value in zip(gan.buffers(), kept, strict=True):
        buffer.copy_(value)
    found = []
    for layer, kinds in met.items():
        shares = {"generated": 2, "real": 1} if "real" in kinds else {"generated": 1}
        total = sum(shares.values())
        means = {kind: torch.stack(values).double() for kind, values in kinds.items()}
        mean = sum(share * means[kind].mean(0) for kind, share in shares.items()) / total
        passes = {"generated": 2 * statistics.BATCHES, "real": statistics.BATCHES}
        # Of the mean over these batches, and of the reference.
        variance = sum(
            (share / total) ** 2 * means[kind].var(0) * (1 / passes[kind] + 1 / MANY)
            for kind, share in shares.items()
        )
        found.append(((layer.running_mean - mean) / variance.sqrt())[variance > 0])
    return torch.cat(found)


def test_they_are_those_of_the_last_weights(images):
    gan = build()
    fit(gan, images, batch_size=BATCH)
    z = standardised(gan, images)
    assert len(z) > 1_000
    assert z.abs().max() < 5.5
    assert 0.8 < z.std() < 1.2


def test_running_ones_are_not(images, monkeypatch):
    monkeypatch.setattr(loop, "renew_statistics", lambda *_: None)
    gan = build()
    fit(gan, images, batch_size=BATCH)
    assert standardised(gan, images).std() > 5


def test_weights_and_the_callers_draws_are_left_alone(images):
    gan = build().train()
    weights = [weight.clone() for weight in gan.parameters()]
    torch.manual_seed(3)
    statistics.renew_statistics(gan, images, BATCH, seed=0)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert all(map(torch.equal, gan.parameters(), weights))
    assert gan.training
    assert {layer.momentum for layer in norms(gan)} == {0.1}
