import copy
from dataclasses import replace
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_infogan import InfoGAN
from pyro_infogan.errors import DeclarationError
from pyro_infogan.models import networks as nets


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_paper_mnist_has_the_papers_sizes():
    """Appendix C.1, with biases only where no batch norm follows."""
    pair = nets.paper_mnist((1, 28, 28), 74)
    generator = 74 * 1024 + 2 * 1024 + 1024 * 6272 + 2 * 6272
    generator += 128 * 64 * 16 + 2 * 64 + 64 * 16 + 1
    assert count(pair.generator) == generator
    trunk = 16 * 64 + 64 + 64 * 128 * 16 + 2 * 128 + 6272 * 1024 + 2 * 1024
    assert count(pair.trunk) == trunk
    hidden = nets.posterior_layer(1024, 128)
    millions = [count(pair.trunk) + 1025, count(hidden) + 129 * 14, count(pair.generator)]
    assert [round(value / 1e6, 2) for value in millions] == [6.56, 0.13, 6.65]
    leaks = {m.negative_slope for m in pair.trunk.modules() if isinstance(m, nn.LeakyReLU)}
    assert leaks == {0.1}


def conv(inputs, outputs):
    return inputs * outputs * 16


def norm(width):
    return 2 * width


# Weights by appendix C's tables: a bias only where no batch norm follows.
TABLES = {
    nets.paper_faces: (
        (1, 32, 32),
        133,
        133 * 1024 + norm(1024) + 1024 * 8192 + norm(8192) + conv(128, 64) + norm(64),
        conv(1, 64) + 64 + conv(64, 128) + norm(128) + 8192 * 1024 + norm(1024),
        (1024, 0),
    ),
    nets.paper_colour: (
        (3, 32, 32),
        168,
        168 * 1792 + norm(1792) + conv(448, 256) + norm(256) + conv(256, 128) + 128
        # The last layer is counted below with the others'.
        + conv(128, 64) + 64,
        conv(3, 64) + 64 + conv(64, 128) + norm(128) + conv(128, 256) + norm(256),
        (4096, 128),
    ),
    nets.paper_chairs: (
        (1, 64, 64),
        189,
        189 * 1024 + norm(1024) + 1024 * 16384 + norm(16384) + 2 * (conv(256, 256) + norm(256))
        + conv(256, 128) + norm(128) + conv(128, 64) + norm(64),
        conv(1, 64) + 64 + conv(64, 128) + norm(128) + conv(128, 256) + norm(256)
        + 2 * (conv(256, 256) + norm(256)) + 16384 * 1024 + norm(1024),
        (1024, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
def test_the_papers_tables(make):
    shape, inputs, generator, trunk, (features, hidden) = TABLES[make]
    pair = make(shape, inputs)
    assert count(pair.generator) == generator + conv(64, shape[0]) + shape[0]
    assert count(pair.trunk) == trunk
    assert (pair.features, pair.hidden) == (features, hidden)
    images = pair.generator(torch.randn(2, inputs))
    assert images.shape == (2, *shape)
    assert pair.trunk(images).shape == (2, features)


def test_q_without_a_layer_of_its_own_reads_the_trunk():
    gan = InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, (1, 32, 32), networks=nets.paper_faces, noise=8)
    # Mean and standard deviation of one code, and nothing between them and the trunk.
    assert count(gan.posterior) == 2 * (1024 + 1)


@pytest.mark.parametrize(
    "shape", [(1, 28, 28), (1, 8, 8), (3, 32, 32), (1, 64, 64), (3, 33, 47), (4, 9, 130)], ids=str
)
def test_networks_fit_any_image(shape):
    pair = nets.for_shape(shape, 7)
    for module in (pair.generator, pair.trunk):
        nets.initialise(module)
    images = pair.generator(torch.randn(3, 7))
    assert images.shape == (3, *shape)
    assert 0 <= images.min() <= images.max() <= 1
    assert pair.trunk(images).shape == (3, pair.features)


def test_dcgan_is_deeper_for_larger_images():
    depth = [
        sum(isinstance(m, nn.Conv2d) for m in nets.dcgan((1, size, size), 5).trunk)
        for size in (8, 16, 32, 64)
    ]
    assert depth == [1, 2, 3, 4]


def test_dcgan_of_half_the_width_has_half_the_channels():
    whole, half = (nets.dcgan((1, 64, 64), 5, width=width) for width in (64, 32))
    assert str(whole) == str(nets.dcgan((1, 64, 64), 5))
    channels = [
        [m.out_channels for m in pair.trunk if isinstance(m, nn.Conv2d)] for pair in (whole, half)
    ]
    assert channels == [[64, 128, 256, 512], [32, 64, 128, 256]]
    assert half.generator(torch.randn(3, 5)).shape == (3, 1, 64, 64)
    for width in (0, 2.5):
        with pytest.raises(DeclarationError, match="width"):
            nets.dcgan((1, 64, 64), 5, width=width)


def test_for_shape_takes_the_papers_where_they_fit():
    paper, ours = (make((1, 28, 28), 9) for make in (nets.paper_mnist, nets.for_shape))
    assert str(paper.trunk) == str(ours.trunk)


@pytest.mark.parametrize(
    ("make", "shape"),
    [(make, (3, 28, 28)) for make in (nets.paper_mnist, *TABLES)]
    + [(nets.dcgan, (1, 7, 28)), (nets.dcgan, (0, 28, 28))],
)
def test_images_that_do_not_fit_are_refused(make, shape):
    with pytest.raises(DeclarationError, match="image_shape"):
        make(shape, 5)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (nets.paper_mnist, (1, 28, 28)),
        *((make, TABLES[make][0]) for make in TABLES),
        (nets.dcgan, (3, 19, 16)),
    ],
)
def test_batches_that_pass_the_trunk_at_once_pass_it_apart(make, shape):
    """Features, gradients and running statistics are those of a pass for each, in their order."""
    torch.manual_seed(0)
    pair = make(shape, 5)
    pair.initialise(pair.trunk)
    at_once = pair.trunk.double()
    apart = nn.Sequential(*copy.deepcopy(list(at_once)))
    # Far apart, so that statistics of all together would be others.
    batches = [
        scale * torch.rand(n, *shape, dtype=torch.float64) for n, scale in ((4, 1.0), (3, 0.1))
    ]
    weights = [torch.randn(len(batch), pair.features, dtype=torch.float64) for batch in batches]
    results = []
    for trunk, features in (
        (at_once, at_once.each(*batches)),
        (apart, [apart(batch) for batch in batches]),
    ):
        loss = sum((w * f).sum() for w, f in zip(weights, features, strict=True))
        gradients = torch.autograd.grad(loss, list(trunk.parameters()))
        results.append([*features, *gradients, *trunk.buffers()])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)


def test_a_trunk_of_any_kind_gives_the_features_of_each_batch():
    def networks(image_shape, inputs, kind):
        pair = nets.for_shape(image_shape, inputs)
        return replace(pair, trunk=kind(*pair.trunk))

    batches = torch.rand(2, 1, 8, 8), 0.1 * torch.rand(3, 1, 8, 8)
    found = []
    for kind in (nets.Trunk, nn.Sequential):
        torch.manual_seed(0)
        gan = InfoGAN(
            {"c": dist.Uniform(-1.0, 1.0)}, (1, 8, 8), networks=partial(networks, kind=kind)
        )
        found.append(gan.train().features(*batches))
    assert [len(features) for features in found[0]] == [2, 3]
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


class Halved(nets.Trunk):
    """With a pass of its own."""

    def forward(self, images):
        return super().forward(images / 2)


def hidden(*layers):
    return nets.Trunk(nn.Sequential(*layers))


def hooked(*layers):
    trunk = nets.Trunk(*layers)
    trunk.register_forward_hook(lambda module, inputs, output: 3 * output)
    return trunk


def hooked_inside(*layers):
    trunk = nets.Trunk(*layers)
    trunk[-1].register_forward_pre_hook(lambda module, inputs: inputs[0] * inputs[0].max())
    return trunk


def parametrised(*layers):
    trunk = nets.Trunk(*layers)
    nn.utils.parametrizations.spectral_norm(trunk[1])
    return trunk


def twice(*layers):
    return nets.Trunk(*layers, layers[2])


def partly_compiled(*layers):
    *others, norm, last = layers
    torch.compiler.reset()
    return nets.Trunk(*others, torch.compile(norm, backend="eager"), last)


@pytest.mark.parametrize(
    "kind", [Halved, hidden, hooked, hooked_inside, parametrised, twice, partly_compiled]
)
@torch.no_grad()  # since tracing for the compiler warns of gradients
def test_batches_pass_one_by_one_where_it_could_not_be_the_same(kind):
    trunk = kind(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU())
    one, other = torch.rand(9, 1, 8, 8), 0.1 * torch.rand(7, 1, 8, 8)
    apart = copy.deepcopy(trunk)
    found = trunk.each(one, other)
    torch.testing.assert_close(list(found), [apart(one), apart(other)])
    torch.testing.assert_close(dict(trunk.named_buffers()), dict(apart.named_buffers()))


@torch.no_grad()
def test_a_trunk_that_is_compiled_is_passed_as_such():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    trunk = nets.Trunk(nn.Flatten(), nn.BatchNorm1d(64))
    trunk.compile(backend=backend)
    trunk.each(torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8))
    assert len(graphs) == 1


def test_instance_norm_keeps_the_statistics_of_each_batch():
    trunk = nets.Trunk(nn.InstanceNorm2d(1, track_running_stats=True))
    apart = copy.deepcopy(trunk)
    batches = torch.rand(8, 1, 8, 8), 5 + torch.rand(8, 1, 8, 8)
    trunk.each(*batches)
    for batch in batches:
        apart(batch)
    torch.testing.assert_close(trunk[0].running_mean, apart[0].running_mean)


def test_dense_and_image_layers_undo_each_other():
    dense = torch.randn(3, 4 * 5 * 6)
    images = nets.ToImage(4, 5)(dense)
    assert images.shape == (3, 6, 4, 5)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(nets.FromImage()(images), dense)


def test_initial_weights():
    pair = nets.paper_mnist((1, 28, 28), 74)
    nets.initialise(pair.generator)
    dense, norm = pair.generator[0].weight, pair.generator[1]
    n = dense.numel()
    assert abs(dense.std().item() - 0.02) <= 4 * 0.02 / (2 * n) ** 0.5
    assert abs(norm.weight.mean().item() - 1.0) <= 4 * 0.02 / len(norm.weight) ** 0.5
    assert norm.bias.abs().max() == 0
