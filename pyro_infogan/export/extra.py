"""The optional libraries of this folder: ``pip install 'pyro-infogan[export]'``."""

import importlib
from typing import Any

from ..errors import RunError

__all__ = ["optional"]


def optional(name: str) -> Any:
    """A library of the extra ``export``.

    Raises:
        RunError: where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RunError(
            "export",
            got=f"no {name.partition('.')[0]} here",
            expected="the optional libraries onnx, onnxscript, onnxruntime and safetensors",
            fix="Install them: pip install 'pyro-infogan[export]'.",
        ) from None
