"""Batch norm's statistics after training are those of the last weights."""

from collections import defaultdict

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from pyro_infogan import InfoGAN
from pyro_infogan.images import scaled
from pyro_infogan.models.networks import FromImage, Pair, ToImage
from pyro_infogan.randomness import seeded
from pyro_infogan.runs import Run
from pyro_infogan.training import loop, statistics
from tests.conftest import small_codes
from tests.killed import Codes, tiny
from tests.ranks import renewed, run
from tests.test_training import build, fit, same

BATCH, MANY = 8, 200


def norms(gan):
    return [
        module for module in gan.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]


@torch.no_grad()
def standardised(gan, images):
    """How many standard errors the running means are from those of many fresh batches.

    The mean over 20 steps is one of 20 sums of three independent batches' means: two generated, one
    real, which Q does not meet in training.
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
            gan.trunk(scaled(images[torch.randint(len(images), (BATCH,))]))
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


def test_they_are_means_over_batches(images):
    gan = build().train()
    met = defaultdict(list)
    for layer in norms(gan):
        layer.register_forward_pre_hook(lambda layer, inputs: met[layer].append(inputs[0]))
    statistics.renew_statistics(gan, images, BATCH, seed=0)
    for layer, batches in met.items():
        axes = [0, *range(2, batches[0].dim())]
        means = torch.stack([batch.mean(axes) for batch in batches])
        variances = torch.stack([batch.var(axes) for batch in batches])
        torch.testing.assert_close(layer.running_mean, means.mean(0))
        torch.testing.assert_close(layer.running_var, variances.mean(0))
    # Q's own layer meets generated images alone.
    assert {len(batches) for batches in met.values()} == {40, 60}
    assert all(len(met[layer]) == 40 for layer in norms(gan.posterior))


class Frozen(nn.BatchNorm1d):
    """Batch norm that stays in evaluation mode, as owners of trained networks have it."""

    def train(self, mode=True):
        return super().train(False)


class Counting(nn.Module):
    """Counts its passes, in a buffer that is another one after each."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, features):
        self.passes = self.passes + 1
        return features


def peculiar(image_shape, inputs):
    """Networks with buffers that training moves, or does not, each in its own way."""
    channels, height, width = image_shape
    pixels = channels * height * width
    generator = nn.Sequential(nn.Linear(inputs, pixels), ToImage(height, width), nn.Sigmoid())
    frozen = Frozen(8)
    nn.init.constant_(frozen.running_mean, 0.3)
    trunk = nn.Sequential(
        *(FromImage(), spectral_norm(nn.Linear(pixels, 8)), nn.BatchNorm1d(8), Counting()),
        *(frozen, nn.BatchNorm1d(8), nn.BatchNorm1d(8, momentum=0.0)),
    )
    trunk[2].aside = nn.BatchNorm1d(5)
    nn.init.constant_(trunk[2].aside.running_var, 0.7)
    return Pair(generator, trunk, 8, hidden=0)


def declared():
    torch.manual_seed(5)
    return InfoGAN(small_codes(), (1, 8, 8), noise=4, networks=peculiar)


def test_buffers_that_are_not_renewed_are_left_alone(images):
    gan = declared().train()
    before = {name: value.clone() for name, value in gan.named_buffers()}
    statistics.renew_statistics(gan, images, BATCH, seed=0)
    changed = {name for name, value in gan.named_buffers() if not torch.equal(value, before[name])}
    assert changed == {
        f"trunk.{place}.{name}"
        for place in (2, 5)
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    # What comes out of the frozen layer is its own, all the time.
    torch.testing.assert_close(gan.trunk[5].running_mean, torch.full((8,), -0.3))


class Growing(nn.Module):
    """Keeps all features that it has met, in a buffer of another size after each pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("bank", torch.zeros(0, 8), persistent=False)
        self.never = nn.LazyBatchNorm1d(affine=False)

    def forward(self, features):
        self.bank = torch.cat([self.bank, features.detach()])
        return features


def test_buffers_that_grow_or_are_not_there_yet(images):
    gan = declared().train()
    gan.trunk.append(Growing())
    statistics.renew_statistics(gan, images, BATCH, seed=0)
    assert gan.trunk[-1].bank.shape == (0, 8)


def test_double_precision(images):
    statistics.renew_statistics(declared().double().train(), images, BATCH, seed=0)


@pytest.mark.parametrize(("labels", "passes"), [(True, 60), (False, 40)])
def test_q_reads_real_images_where_it_does_in_training(labels, passes, images):
    gan = build()
    told = {"labels": {"digit": torch.arange(len(images)) % 2}} if labels else {}
    fit(gan, images, **told)
    assert {int(layer.num_batches_tracked) for layer in norms(gan.posterior)} == {passes}


def test_a_run_goes_on_as_if_they_had_not_been_renewed(images, tmp_path):
    whole = declared()
    fit(whole, images, steps=20)
    fit(declared(), images, steps=10, out=tmp_path)
    again = declared()
    fit(again, images, steps=20, out=tmp_path, resume=True)
    assert same(whole, again)


def test_what_is_interrupted_changes_nothing(images):
    gan = declared().train()
    before = {name: value.clone() for name, value in gan.named_buffers()}
    momenta = [layer.momentum for layer in norms(gan)]
    draw, calls = gan.draw, []

    def drawing(n):
        calls.append(n)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return draw(n)

    gan.draw = drawing
    with pytest.raises(KeyboardInterrupt):
        statistics.renew_statistics(gan, images, BATCH, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in gan.named_buffers())
    assert [layer.momentum for layer in norms(gan)] == momenta


def test_what_was_learned_is_not_lost_with_them(images, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "renew_statistics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), images, out=tmp_path)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [5]


def test_images_per_second_are_those_of_training(images, monkeypatch):
    """A line is complete before statistics are taken, which would count as training's time."""
    order = []
    renew, write = loop.renew_statistics, loop.Log.write
    monkeypatch.setattr(loop, "renew_statistics", lambda *given: (order.append("r"), renew(*given)))
    monkeypatch.setattr(loop.Log, "write", lambda *given: (order.append("w"), write(*given))[1])
    fit(build(), images, steps=13)
    assert order == ["w", "w", "r"]


def test_processes_take_them_apart_and_end_with_their_means(tmp_path):
    outcomes = run(renewed, tmp_path)
    assert [outcome.error for outcome in outcomes] == [None, None]
    (first, ended), (second, other_ended) = (outcome.value for outcome in outcomes)
    name = "generator.1.running_mean"
    assert (first[name] != second[name]).all()
    saved = InfoGAN(Codes(), (1, 8, 8), noise=2, networks=tiny).restore(tmp_path)
    for end in (ended, other_ended, saved.state_dict()):
        torch.testing.assert_close(end[name], (first[name] + second[name]) / 2)
