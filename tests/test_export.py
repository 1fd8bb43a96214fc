"""Graphs that compute what torch does, weights that are whole or refused, nothing run or said."""

import json
import os
import pickle
import struct
import sys
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_infogan import InfoGAN, families
from pyro_infogan.errors import DeclarationError, RunError
from pyro_infogan.inference import parameters
from pyro_infogan.models.networks import Pair, dcgan

from .conftest import small_codes
from .test_cli import EXPERIMENT, call

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors")
export = pytest.importorskip("pyro_infogan.export")

UNIT = dist.Uniform(-1.0, 1.0)
ANGLE = dist.VonMises(0.5, 1.0)
# A code of each kind, some under names that the exporter has for values of its own.
CODES = {
    "cat": dist.Categorical(torch.ones(3)),
    "kinds": dist.Categorical(torch.ones(2, 3)).to_event(1),
    "hot": dist.OneHotCategorical(torch.ones(4)),
    "flags": dist.Bernoulli(0.5).expand([2]).to_event(1),
    "degrees": dist.Uniform(0.0, 360.0),
    "view": dist.Normal(5.0, 2.0).expand([2]).to_event(1),
    "angle": ANGLE,
    "add": dist.Dirichlet(torch.ones(3)),
    "one": UNIT,
    "two": UNIT,
    "mixed": UNIT,
    "cut": UNIT,
    "beta": UNIT.expand([2]).to_event(1),
    "logit": UNIT,
    "spline": UNIT,
}
POSTERIOR = {
    ("one", "two"): families.MultivariateNormal,
    "mixed": families.MixtureOfNormals,
    "cut": families.TruncatedNormal,
    "beta": families.Beta,
    "logit": families.LogitNormal,
    "spline": families.Spline,
}


def lively(gan):
    """An untrained InfoGAN whose images and posteriors are not all alike."""
    torch.manual_seed(1)
    for layer in gan.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in = layer.weight[0].numel()
            nn.init.normal_(layer.weight, 0.0, 1.5 * fan_in**-0.5)
    return gan


def dense(image_shape, inputs):
    """Networks that are quick to trace."""
    pixels = torch.Size(image_shape).numel()
    generator = nn.Sequential(nn.Linear(inputs, pixels), nn.Sigmoid(), nn.Unflatten(1, image_shape))
    return Pair(generator, nn.Sequential(nn.Flatten(), nn.Linear(pixels, 16)), 16, hidden=0)


def run(graph, inputs):
    """A graph's outputs by name."""
    session = onnxruntime.InferenceSession(graph.model)
    found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return dict(zip(graph.outputs, map(torch.from_numpy, found), strict=True))


def batches(graph):
    """Names of the first axes of inputs and outputs, and types of the inputs."""
    session = onnxruntime.InferenceSession(graph.model)
    values = [*session.get_inputs(), *session.get_outputs()]
    return {value.shape[0] for value in values}, {
        value.name: value.type for value in session.get_inputs()
    }


@pytest.fixture(scope="module")
def zoo():
    torch.manual_seed(0)
    return lively(InfoGAN(CODES, (3, 8, 9), noise=0, posterior=POSTERIOR, networks=dcgan))


def test_the_generator_reads_codes_in_their_own_values(zoo):
    before = {name: value.clone() for name, value in zoo.state_dict().items()}
    assert zoo.training
    graph = export.generator_graph(zoo)
    assert zoo.training
    assert all(torch.equal(value, before[name]) for name, value in zoo.state_dict().items())
    assert graph.inputs == ("noise", *CODES)
    assert graph.difference <= 1e-4
    names, types = batches(graph)
    assert names == {"images"}
    assert types["kinds"] == "tensor(int64)"
    assert types["hot"] == types["degrees"] == "tensor(float)"
    noise, codes = zoo.draw(11)
    # Beyond what the prior draws, and round and round.
    codes |= {"degrees": codes["degrees"] * 2, "angle": codes["angle"] + 4 * torch.pi}
    images = run(graph, {"noise": noise, **codes})["images"]
    expected = zoo.generate(11, codes, noise)
    assert expected.std(0).mean() > 0.01
    torch.testing.assert_close(images, expected, atol=1e-4, rtol=0)


def test_a_prior_whose_moments_onnx_could_not_compute_is_exported():
    """Centre and scale are constants of the declaration, not sums of the graph."""
    torch.manual_seed(0)
    gan = lively(InfoGAN({"tail": dist.StudentT(4.0, 0.0, 1.0)}, (1, 8, 8), noise=2))
    assert export.generator_graph(gan).difference <= 1e-4


def test_the_posterior_is_told_by_name(zoo):
    graph, left_out = export.posterior_graph(zoo)
    assert graph.inputs == ("images",)
    assert not left_out
    images = torch.rand(6, 3, 8, 9)
    found = run(graph, {"images": images})
    for key, posterior in zoo.infer(images).items():
        name = key if isinstance(key, str) else ",".join(key)
        _, expected = parameters(posterior)
        expected.pop("precision_matrix", None)
        assert {each for each in found if each.startswith(f"{name}.")} == {
            f"{name}.{each}" for each in expected
        }
        # Where infer draws, its deviation is about 3 % off.
        loose = {"atol": 0.1, "rtol": 0.1} if "mean" in expected else {"atol": 1e-4, "rtol": 1e-4}
        for each, value in expected.items():
            torch.testing.assert_close(found[f"{name}.{each}"], value.float(), **loose)
    assert found["degrees.loc"].std() > 1.0
    told = {each.key: each.value for each in onnx.load_from_string(graph.model).metadata_props}
    assert json.loads(told["declaration"]) == json.loads(json.dumps(zoo.declaration()))
    assert json.loads(told["families"])["one,two"] == "MultivariateNormal"
    # The exporter notes where the source is.
    assert os.path.dirname(families.__file__).encode() not in graph.model


def test_moments_of_transformed_posteriors_are_exact():
    """The mean of σ(N) by quantiles against a sum over a fine grid."""
    from pyro_infogan.export.numbers import told

    torch.manual_seed(0)
    head = families.LogitNormal(UNIT, 4)
    features = torch.randn(3, 4)
    with torch.no_grad():
        found = told({"c": head(features)}, {}).numbers
        grid = torch.linspace(-1, 1, 20_001)[1:-1].unsqueeze(-1)
        weights = head(features).log_prob(grid).exp()
    weights = weights / weights.sum(0)
    mean = (weights * grid).sum(0)
    stddev = (weights * (grid - mean).square()).sum(0).sqrt()
    torch.testing.assert_close(found["c.mean"], mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["c.stddev"], stddev, atol=1e-3, rtol=0)


def program():
    kind = pyro.sample("kind", dist.Categorical(torch.ones(3)))
    ends = torch.tensor([0.0, 2.0, 5.0])[kind]
    pyro.sample("size", dist.Uniform(ends, ends + 3.0))


class Guide(nn.Module):
    """Q(kind | x) Q(size | x, kind)."""

    def __init__(self, prior, features):
        super().__init__()
        self.kind, self.size = nn.Linear(features, 3), nn.Linear(features + 3, 1)

    def forward(self, features):
        kind = pyro.sample("kind", dist.Categorical(logits=self.kind(features)))
        given = torch.cat([features, nn.functional.one_hot(kind, 3)], -1)
        pyro.sample("size", dist.Normal(self.size(given).squeeze(-1), 0.5))


def test_programs_and_guides(tmp_path):
    gan = lively(InfoGAN(program, (1, 8, 8), noise=2, posterior=Guide, networks=dense))
    noise, codes = gan.draw(9)
    written = export.write(gan, tmp_path)
    images = run(written.graphs["generator.onnx"], {"noise": noise, **codes})["images"]
    torch.testing.assert_close(images, gan.generate(9, codes, noise), atol=1e-4, rtol=0)
    # A guide's graph takes the codes, and tells each given those before it.
    graph = written.graphs["posterior.onnx"]
    assert graph.inputs == ("images", "kind", "size")
    found = run(graph, {"images": images, **codes})
    (guide,) = gan.infer(images).values()
    expected = guide.log_probs(codes)
    size = dist.Normal(found["size.loc"], found["size.scale"]).log_prob(codes["size"])
    torch.testing.assert_close(size, expected["size"], atol=1e-3, rtol=1e-3)
    kind = found["kind.probs"].log().gather(1, codes["kind"].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(kind, expected["kind"], atol=1e-3, rtol=1e-3)


def test_a_flow_is_left_out(tmp_path):
    pytest.importorskip("zuko")
    codes = {"flow": UNIT, "digit": dist.Categorical(torch.ones(3))}
    gan = InfoGAN(codes, (1, 8, 8), noise=2, posterior={"flow": families.Zuko}, networks=dense)
    graph, left_out = export.posterior_graph(gan)
    assert graph.outputs == ("digit.probs",)
    assert list(left_out) == ["flow"]
    alone = InfoGAN({"flow": UNIT}, (1, 8, 8), posterior={"flow": families.Zuko}, networks=dense)
    assert export.posterior_graph(alone)[0] is None


class Random(nn.Module):
    def forward(self, images):
        return images * torch.rand_like(images)


class Branching(nn.Module):
    def forward(self, images):
        return images if images.mean() > 0.5 else 1 - images


@pytest.mark.parametrize(
    ("last", "says"), [(Random(), "between ONNX Runtime and torch"), (Branching(), "can export")]
)
def test_networks_that_cannot_be_exported_are_refused(last, says, tmp_path, capfd):
    def networks(image_shape, inputs):
        pair = dense(image_shape, inputs)
        return Pair(nn.Sequential(pair.generator, last), pair.trunk, 16, hidden=0)

    gan = InfoGAN(small_codes(), (1, 8, 8), noise=2, networks=networks)
    with pytest.raises(RunError, match=says):
        export.write(gan, tmp_path / "export")
    assert not (tmp_path / "export").exists()
    assert capfd.readouterr() == ("", "")


def test_the_command(tmp_path, capfd):
    file = tmp_path / "own.py"
    file.write_text(EXPERIMENT)
    assert call("train", file, "--out", tmp_path / "run", "--steps", 2) == 0
    capfd.readouterr()
    assert call("export", tmp_path / "run") == 0
    said, complaints = capfd.readouterr()
    folder = tmp_path / "run" / "export"
    names = ["generator.onnx", "posterior.onnx", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    # What the exporter says of itself does not reach the user.
    assert [line.split(",")[0] for line in said.splitlines()[1:]] == [
        str(folder / name) for name in names
    ]
    assert complaints == ""
    graph = onnx.load(folder / "generator.onnx")
    assert [value.name for value in graph.graph.input] == ["noise", "digit", "slant", "style"]


# Weights


@pytest.fixture
def saved(gan, tmp_path):
    path = tmp_path / "weights.safetensors"
    export.save(gan, path)
    return path


def test_weights_go_round(gan, saved, images):
    again = export.load(saved)
    assert not again.training
    assert again.declaration() == gan.declaration()
    for name, value in gan.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    noise, codes = gan.draw(3)
    torch.testing.assert_close(again.generate(3, codes, noise), gan.generate(3, codes, noise))
    with safetensors.safe_open(saved, framework="pt") as file:
        assert json.loads(file.metadata()["declaration"])["noise"] == 4


def test_own_parts_are_adopted_but_not_loaded(tmp_path):
    def build():
        return InfoGAN(small_codes(), (1, 8, 8), noise=3, networks=dense)

    path = tmp_path / "weights.safetensors"
    gan = build()
    export.save(gan, path)
    with pytest.raises(DeclarationError, match="dense"):
        export.load(path)
    again = build().adopt(export.read(path), path)
    for mine, theirs in zip(gan.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(RunError, match="noise"):
        InfoGAN(small_codes(), (1, 8, 8), noise=4, networks=dense).adopt(export.read(path), path)


def test_truncated_and_damaged_weights_are_refused(saved):
    whole = saved.read_bytes()
    for length in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(RunError, match="whole safetensors file"):
            export.load(saved)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(RunError, match="whole safetensors file"):
        export.load(saved)
    header = struct.unpack("<Q", whole[:8])[0] + 8
    generator = torch.Generator().manual_seed(0)
    flips = [
        *torch.randint(0, header, (40,), generator=generator).tolist(),
        *torch.randint(header, len(whole), (10,), generator=generator).tolist(),
    ]
    for place in flips:
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(RunError):
            export.load(saved)


def test_foreign_and_hostile_weights_are_refused(gan, tmp_path):
    from safetensors.torch import save_file

    from pyro_infogan.export.weights import _checksum

    path = tmp_path / "weights.safetensors"
    with pytest.raises(RunError, match="no file"):
        export.load(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(RunError, match="another kind"):
        export.load(path)
    path.write_bytes(pickle.dumps(partial(os.mkdir, str(tmp_path / "exploded"))))
    with pytest.raises(RunError, match="cannot be read"):
        export.load(path)
    assert not (tmp_path / "exploded").exists()
    declared = gan.declaration()
    tensors = {name: value.contiguous() for name, value in gan.state_dict().items()}
    # A declaration of more than the file holds asks for no memory, and one of nothing fails.
    hostile = [({**declared, "noise": 10**9}, "as it declares")]
    hostile += [(other, "declaration") for other in ({}, [], None, {**declared, "codes": 3})]
    for declaration, says in hostile:
        text = json.dumps(declaration)
        about = {"pyro_infogan": "1", "declaration": text, "sha256": _checksum(text, tensors)}
        save_file(tensors, path, about)
        with pytest.raises(RunError, match=says):
            export.load(path)


def test_a_missing_library_is_told(gan, tmp_path, monkeypatch):
    for name in ("onnxscript", "onnxruntime", "safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    for attempt in (
        partial(export.generator_graph, gan),
        partial(export.save, gan, tmp_path / "weights.safetensors"),
        partial(export.read, tmp_path / "weights.safetensors"),
    ):
        with pytest.raises(RunError, match=r"pip install 'pyro-infogan\[export\]'"):
            attempt()
