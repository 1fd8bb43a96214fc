"""What an InfoGAN was declared as, in plain data, and the way back.

A file holds it beside the weights, so that a trained InfoGAN is built again without running code.
"""

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import runs
from .codes import CodePrior, Key, label
from .descriptions import describe, find, is_opaque, named, opaque, restore
from .errors import DeclarationError, InfoGANError, RunError, in_short
from .inference import Posterior, families
from .models import networks as nets

__all__ = [
    "arguments",
    "check_sizes",
    "checked_shape",
    "declared",
    "needs_code",
    "undeclared",
]


def declared(
    prior: CodePrior,
    posterior: Posterior,
    *,
    image_shape: tuple[int, int, int],
    noise: int,
    information_weights: Mapping[Key, float],
    networks: nets.Networks,
) -> dict[str, Any]:
    """An InfoGAN's declaration as data; parts that are the user's own code only by name."""
    return {
        "codes": {
            # A parameter's first value is no part of what was declared.
            name: opaque(type(site)) if name in prior.learned else describe(site)
            for name, site in prior.sites.items()
        },
        "program": opaque(prior.written) if prior.written else None,
        "image_shape": list(image_shape),
        "noise": noise,
        "posterior": {
            label(key): named(family, families) for key, family in posterior.families.items()
        },
        "guide": None if posterior.families else opaque(posterior.chosen),
        "information_weights": {label(key): weight for key, weight in information_weights.items()},
        "networks": named(networks, nets),
    }


def arguments(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """What an InfoGAN of a declaration is built with.

    Raises:
        DeclarationError: where a part was the user's own code.
    """
    for part in ("program", "guide"):
        if declaration.get(part):
            find(declaration[part], nets, part)
    return {
        "codes": {name: restore(prior) for name, prior in declaration["codes"].items()},
        "image_shape": tuple(declaration["image_shape"]),
        "noise": declaration["noise"],
        "posterior": {
            _key(text): find(family, families, f"posterior of {text!r}")
            for text, family in declaration["posterior"].items()
        },
        "information_weights": {
            _key(text): weight for text, weight in declaration["information_weights"].items()
        },
        "networks": find(declaration["networks"], nets, "networks"),
    }


def _key(text: str) -> Key:
    """The way back from :func:`~pyro_infogan.codes.label`."""
    return tuple(text.split(",")) if "," in text else text


def check_sizes(declaration: Any, contents: Mapping[str, Any], path: Path) -> None:
    """Refuse a file whose declaration asks for networks that its weights do not fill.

    They are built without memory of their own, which a few numbers could ask any amount of.
    """
    weights = runs.part(contents, "weights", path)
    try:
        codes = {name: restore(prior) for name, prior in declaration["codes"].items()}
        inputs = declaration["noise"] + CodePrior(codes).width
        networks: nets.Networks = find(declaration["networks"], nets, "networks")
        with torch.device("meta"):
            pair = networks(checked_shape(declaration["image_shape"]), inputs)
        asked = {
            f"{part}.{name}": value.shape
            for part, module in (("generator", pair.generator), ("trunk", pair.trunk))
            for name, value in module.state_dict().items()
        }
        found = {name: weights[name].shape for name in asked}
    except InfoGANError:
        raise
    except Exception as error:  # a hostile file may hold anything at any place
        raise undeclared(path, error) from error
    if found != asked:
        name = next(name for name in asked if found[name] != asked[name])
        raise RunError(
            f"checkpoint {path}",
            got=f"{name} of shape {tuple(found[name])}",
            expected=f"{tuple(asked[name])}, as it declares",
            fix="The networks' code has changed since, or the file is damaged; use another.",
        )


def needs_code(declaration: Any) -> bool:
    """Whether a declaration holds code of the user's own, under whatever names."""
    if not isinstance(declaration, Mapping):
        return False
    parts = [declaration.get(part) for part in ("program", "guide", "networks")]
    for part in ("codes", "posterior"):
        several = declaration.get(part)
        parts += several.values() if isinstance(several, Mapping) else []
    return any(map(is_opaque, parts))


def undeclared(path: Path, error: Exception) -> RunError:
    """The error for a file whose declaration cannot be read."""
    return RunError(
        f"checkpoint {path}",
        got=in_short(error),
        expected="the declaration of an InfoGAN",
        fix="It may come from another program or version.",
    )


def checked_shape(image_shape: Any) -> tuple[int, int, int]:
    """Channels, height and width, if networks can be built for them.

    Raises:
        DeclarationError: otherwise.
    """
    try:
        channels, height, width = (operator.index(size) for size in image_shape)
    except (TypeError, ValueError):
        channels = height = width = 0
    if channels < 1 or min(height, width) < nets.SMALLEST:
        raise DeclarationError(
            "image_shape",
            got=repr(image_shape),
            expected=f"(channels, height, width), at least (1, {nets.SMALLEST}, {nets.SMALLEST})",
            fix="MNIST is (1, 28, 28).",
        )
    return channels, height, width
