"""InfoGAN as a probabilistic program: codes are Pyro distributions, Q is a guide.

Names are imported when they are first used, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import callbacks, datasets, discovery, export, figures, inversion
    from .errors import InfoGANError
    from .evaluation import evaluate
    from .inference import (
        INFOGAN,
        PLAIN_GAN,
        Affine,
        Chain,
        Inks,
        Invariance,
        Objective,
        PriorTerms,
        Rates,
        Strokes,
        Tints,
        families,
    )
    from .infogan import InfoGAN
    from .models import Experiment
    from .training import train

_HOMES = {
    "callbacks": ".callbacks",
    "datasets": ".datasets",
    "discovery": ".discovery",
    "export": ".export",
    "figures": ".figures",
    "inversion": ".inversion",
    "families": ".inference.families",
    "InfoGANError": ".errors",
    "evaluate": ".evaluation",
    "INFOGAN": ".inference",
    "PLAIN_GAN": ".inference",
    "Affine": ".inference",
    "Chain": ".inference",
    "Inks": ".inference",
    "Strokes": ".inference",
    "Tints": ".inference",
    "Invariance": ".inference",
    "Objective": ".inference",
    "PriorTerms": ".inference",
    "Rates": ".inference",
    "InfoGAN": ".infogan",
    "Experiment": ".models",
    "train": ".training",
}

__all__ = [
    "INFOGAN",
    "PLAIN_GAN",
    "Affine",
    "Chain",
    "Experiment",
    "InfoGAN",
    "InfoGANError",
    "Inks",
    "Invariance",
    "Objective",
    "PriorTerms",
    "Rates",
    "Strokes",
    "Tints",
    "callbacks",
    "datasets",
    "discovery",
    "evaluate",
    "export",
    "families",
    "figures",
    "inversion",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name], __name__)
    # A module that carries its own name here is the thing itself.
    found = home if _HOMES[name].endswith(f".{name}") else getattr(home, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
