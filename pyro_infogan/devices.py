"""Where to compute, in which precision, and with which memory."""

import ctypes
import platform

import torch
from torch import Tensor

from .errors import RunError

__all__ = ["fast_precision", "held", "keep_memory", "usable_device"]

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


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where the device has units for products of it, else float32.

    On a CPU those are AMX's. The instructions for bfloat16 of AVX-512 alone are no gain: on an
    Intel Xeon a product of large matrices takes 1.6 to 2 times as long by them as in float32.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_amx_tile_supported()
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
