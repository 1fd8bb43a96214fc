"""Weights as safetensors, with the declaration as metadata: a file that holds no code at all.

The file's metadata has ``pyro_infogan``, the version of the layout, ``declaration``, JSON, and
``sha256``, over the declaration and every tensor.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import runs
from ..devices import usable_device
from ..errors import RunError
from ..infogan import InfoGAN
from .extra import optional

__all__ = ["load", "read", "save"]

FORMAT = "1"
"""Version of the layout of the metadata."""


def save(gan: InfoGAN, path: str | Path) -> None:
    """Write weights and declaration to one file, whole or not at all.

    Raises:
        RunError: where safetensors is missing, the folder cannot be written to, or a network of the
            user's own keeps something else than tensors.
    """
    library = optional("safetensors.torch")
    weights: dict[str, Any] = gan.state_dict()
    foreign = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if foreign:
        raise RunError(
            f"writing {path}",
            got=f"{foreign[0]!r}, which is no tensor, among the weights",
            expected="networks that keep tensors alone",
            fix="Keep it as a buffer, or use gan.save().",
        )
    # Copies, for the layout knows neither strides nor tensors that share memory.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    declaration = json.dumps(gan.declaration())
    about = {
        "pyro_infogan": FORMAT,
        "declaration": declaration,
        "sha256": _checksum(declaration, tensors),
    }
    packed = library.save(tensors, metadata=about)
    runs.replace(Path(path), lambda file: file.write(packed))


def load(path: str | Path, device: str | torch.device = "cpu") -> InfoGAN:
    """A trained InfoGAN from a safetensors file. Nothing in the file is run.

    Where a part of the declaration is code of your own, which no such file holds, declare the
    InfoGAN as it was and have it take the weights: ``gan.adopt(export.read(path), path)``.

    Args:
        path: the file.
        device: where to put it.

    Returns:
        The InfoGAN in evaluation mode.

    Raises:
        RunError: for a missing, truncated, damaged or foreign file, or a device that is not there.
        DeclarationError: for a declaration with parts of the user's own.
    """
    device = usable_device(device)
    return InfoGAN.from_contents(read(path), Path(path)).to(device).eval()


def read(path: str | Path) -> dict[str, Any]:
    """Declaration and weights of a safetensors file, on the CPU, as ``gan.adopt`` takes them.

    The sizes that the file declares are held against its bytes before anything is built.

    Raises:
        RunError: for a missing, truncated, damaged or foreign file.
    """
    path = Path(path)
    library = optional("safetensors")
    if not path.is_file():
        raise _unusable(path, "no file")
    try:
        with library.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("pyro_infogan") != FORMAT:
                raise _unusable(path, "a file of another kind")
            # safe_open has compared shapes, types and places with the length of the file.
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        declaration = about["declaration"]
        if _checksum(declaration, weights) != about.get("sha256"):
            raise _unusable(path, "a file that cannot be read (another checksum)")
        return {"declaration": json.loads(declaration), "weights": weights}
    except RunError:
        raise
    except Exception as error:  # the library has errors of its own, and passes on others
        said = f"a file that cannot be read ({type(error).__name__})"
        raise _unusable(path, said) from error


def _unusable(path: Path, got: str) -> RunError:
    return RunError(
        f"weights {path}",
        got=got,
        expected="a whole safetensors file of pyro-infogan export",
        fix="Check the path, or export the run again.",
    )


def _checksum(declaration: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the declaration, and name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(declaration.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
