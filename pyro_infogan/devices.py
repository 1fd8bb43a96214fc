"""Where to compute, in which precision, and with which memory."""

import ctypes
import platform

import torch
from torch import Tensor

from .errors import RunError

__all__ = ["fast_precision", "held", "keep_memory", "made_by_amd", "usable_device"]

# Of malloc.h: fewest bytes that are mapped apart, and that are handed back from the heap's end.
_MAP_FROM, _HAND_BACK_FROM = -3, -1
_NEVER = 2**31 - 1


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device named, or the fastest there is.

    Raises:
        RunError: for a device that this machine or this build of torch cannot compute on.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        # Reading a result back tells a device that computes from one that only pretends to.
        torch.ones(1, device=chosen).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise RunError(
            "device",
            got=repr(str(device)),
            expected="one that torch can use here",
            fix=f"Use 'cpu'. Torch says: {(str(error).splitlines() or ['nothing'])[0]}",
        ) from None
    return chosen


def made_by_amd() -> bool:
    """Whether the CPU is one of AMD's, by its SSE4a, as torch tells from 2.11 on.

    On these MKL, which takes PyTorch's products of float32 matrices, does not use AVX-512.
    """
    return getattr(torch.cpu, "get_capabilities", dict[str, bool])().get("sse4a", False)


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes products of it faster than of float32, else float32.

    Of CPUs those are the ones with AMX, and AMD's with AVX-512's instructions for bfloat16. On
    Intel's these alone are no gain: on a Xeon whose AMX is hidden, a product of large matrices
    takes 1.6 to 2 times as long by them as in float32; on an EPYC of Zen 5 it takes a quarter.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        instructions = torch.cpu._is_avx512_bf16_supported() and made_by_amd()
        fast = torch.cpu._is_amx_tile_supported() or instructions
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def held(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device, or where they are if they would take more than half of a GPU's room."""
    if device.type == "cuda" and images.nbytes > torch.cuda.mem_get_info(device)[0] // 2:
        return images
    return images.to(device)


def keep_memory() -> None:
    """Have this process keep the large blocks of memory that it frees, to use them again.

    glibc hands those of 32 MB and more back to the kernel, which clears each page anew at the next
    step. Every gradient of a large dense layer is such a block, so that on a CPU a good part of a
    step would go into it. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MAP_FROM, _NEVER)
        library.mallopt(_HAND_BACK_FROM, _NEVER)
