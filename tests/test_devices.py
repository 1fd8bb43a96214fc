"""What the process asks of the machine."""

import platform
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_infogan import InfoGAN, Invariance, Objective, models
from pyro_infogan.devices import fast_precision, held, made_by_amd
from pyro_infogan.inference import Step, checked_labels

BLOCKS = """
import resource, sys
import torch
from pyro_infogan.devices import keep_memory

if sys.argv[1] == "keep":
    keep_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def fill():
    for _ in range(10):
        torch.ones(2**23)  # 32 MiB

fill()
before = faults()
fill()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own habit")
def test_large_blocks_are_kept():
    """Freed and asked for again, they cost no page fault of their own."""
    faults = {
        habit: int(subprocess.check_output([sys.executable, "-c", BLOCKS, habit], text=True))
        for habit in ("keep", "hand back")
    }
    assert faults["keep"] < 100
    assert faults["hand back"] > 10 * faults["keep"]


@pytest.mark.parametrize(
    ("amx", "instructions", "amd", "precision"),
    [
        (True, True, False, torch.bfloat16),
        (False, True, False, torch.float32),
        (False, True, True, torch.bfloat16),
        (False, False, True, torch.float32),
    ],
)
def test_bfloat16_is_the_default_of_cpus_that_are_faster_by_it(
    amx, instructions, amd, precision, monkeypatch
):
    """AVX-512's instructions for it are no reason on Intel's: products take longer by them."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    told = {"sse4a": amd, "avx512_bf16": instructions}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert fast_precision(torch.device("cpu")) == precision


def test_a_torch_that_does_not_tell_the_maker_is_not_taken_for_amds(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert not made_by_amd()
    assert fast_precision(torch.device("cpu")) == torch.float32


def test_images_beyond_a_gpus_room_stay_where_they_are(monkeypatch):
    images = torch.zeros(10, 1, 4, 4, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * images.nbytes - 1, 0))
    assert held(images, torch.device("cuda")) is images
    assert held(images, torch.device("meta")).device.type == "meta"


class Crossings(TorchDispatchMode):
    """Counts what brings more than single numbers from one device to another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        met = [t for t in tree_leaves((arguments, named, result)) if isinstance(t, Tensor)]
        if len({t.device.type for t in met if t.dim()}) > 1:
            self.found.append(str(function))
        return result


def step_on_a_gpu(gan, objective, monkeypatch, guided=(), labels=None):
    """A step with tensors that have a place and no values; what it brought across devices.

    Backward passes are left out, which want the GPU itself.
    """
    monkeypatch.setattr(Step, "descend", lambda *_: None)
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    gpu = torch.device("cuda")
    with FakeTensorMode(allow_non_fake_inputs=True), pyro.validation_enabled(False):
        step = Step(gan.to(gpu).train(), objective, guided=guided)
        labels = {name: each.to(gpu) for name, each in (labels or {}).items()}
        real = torch.rand(8, *gan.image_shape, device=gpu)
        with Crossings() as crossings:
            told = step(real, labels)
    assert {value.device for value in told.values()} == {torch.device("cuda:0")}
    return crossings.found


@pytest.mark.parametrize("name", models.built_in())
def test_a_step_on_a_gpu_neither_waits_for_it_nor_sends_it_anything(name, monkeypatch):
    """Reading a value back, or a shape that depends on values, would be an error here."""
    experiment = models.built_in()[name]
    gan = InfoGAN.from_experiment(experiment)
    assert step_on_a_gpu(gan, experiment.objective, monkeypatch) == []


def test_nor_does_one_of_half_lines_counts_and_directions(monkeypatch):
    codes = {
        "gap": dist.Exponential(1.0),
        "wide": dist.HalfCauchy(1.0),
        "dots": dist.Poisson(3.0),
        "way": dist.ProjectedNormal(torch.zeros(3)),
    }
    gan = InfoGAN(codes, (1, 8, 8), noise=2)
    assert step_on_a_gpu(gan, Objective(), monkeypatch) == []


def test_nor_does_one_with_labels(gan, monkeypatch):
    labels = checked_labels(gan.prior, {"digit": torch.tensor([0, 1, 2, -1] * 2)}, 8)
    objective = Objective(invariance=Invariance(lambda x: x.flip(-1), ("digit",)))
    assert step_on_a_gpu(gan, objective, monkeypatch, ("digit",), labels) == []


def test_what_is_sent_to_a_gpu_is_seen(gan, monkeypatch):
    sent = torch.rand(1, 8, 8)
    moved = Objective(invariance=Invariance(lambda x: x + sent.to(x.device), ("digit",)))
    assert set(step_on_a_gpu(gan, moved, monkeypatch)) == {"aten._to_copy.default"}


@pytest.mark.parametrize(
    ("distort", "error"),
    [
        (lambda x: x * x.max().item(), DataDependentOutputException),
        (lambda x: x * x[x > 0.5].sum(), DynamicOutputShapeException),
    ],
)
def test_what_waits_for_a_gpu_is_seen(distort, error, gan, monkeypatch):
    with pytest.raises(error):
        step_on_a_gpu(gan, Objective(invariance=Invariance(distort, ("digit",))), monkeypatch)
