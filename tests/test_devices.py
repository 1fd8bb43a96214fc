"""What the process asks of the machine."""

import platform
import subprocess
import sys

import pytest
import torch

from pyro_infogan.devices import fast_precision, held, made_by_amd

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
