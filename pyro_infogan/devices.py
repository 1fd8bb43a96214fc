"""Where to compute, and in which precision."""

import torch

from .errors import RunError

__all__ = ["fast_precision", "usable_device"]


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
    """bfloat16 where the device multiplies it in hardware, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
