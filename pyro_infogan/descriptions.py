"""Declarations as plain data: what a checkpoint can say, compare and build again without code."""

import copy
import dataclasses
import inspect
import math
import re
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from .errors import DeclarationError

__all__ = ["describe", "find", "is_opaque", "matches", "named", "opaque", "restore", "setting"]

OPAQUE = "opaque"
"""Key of a description that names the user's own code, which data cannot hold."""


def named(thing: Any, namespace: ModuleType) -> str | dict[str, Any]:
    """A part of this library or of Pyro by its name; the user's own as opaque.

    A ``functools.partial`` of a named part, with plain keywords, counts as named.
    """
    if isinstance(thing, partial) and not thing.args:
        whole = named(thing.func, namespace)
        plain = all(isinstance(value, str | int | float) for value in thing.keywords.values())
        if isinstance(whole, str) and plain:
            return {"partial": whole, "keywords": dict(thing.keywords)}
    name = getattr(thing, "__name__", None)
    if name and getattr(namespace, name, None) is thing:
        return name
    return opaque(thing)


def opaque(thing: Any) -> dict[str, Any]:
    """The user's own code, by its name alone."""
    name = getattr(thing, "__name__", None)
    kind = f"{getattr(thing, '__module__', '?')}.{name or type(thing).__name__}"
    return {OPAQUE: kind if name else f"{kind} {_stable(thing)}"}


def is_opaque(described: Any) -> bool:
    """Whether a description is of the user's own code."""
    return isinstance(described, Mapping) and OPAQUE in described


def setting(value: Any) -> Any:
    """A setting as data that JSON can hold, so that two that differ are told apart.

    Dataclasses by name and field, ``functools.partial`` by function and arguments; what else is no
    plain data by its name, or by its repr. Two functions of one name are taken for the same.

    Example:
        >>> from pyro_infogan.inference.distortion import Strokes
        >>> setting((Strokes(finer=0.2), None))
        [{'type': 'Strokes', 'bolder': 1.0, 'finer': 0.2}, None]
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [setting(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): setting(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, partial):
        given = {"arguments": setting(value.args), "keywords": setting(value.keywords)}
        return {"partial": setting(value.func), **given}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {"type": type(value).__name__, **setting(fields)}
    return opaque(value)


def _stable(thing: Any) -> str:
    """A repr without addresses, which change from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def describe(prior: Distribution) -> dict[str, Any]:
    """A distribution as plain data: its name in ``pyro.distributions`` and its arguments.

    One that is not Pyro's own, or whose arguments are no plain numbers, is described as opaque, and
    cannot be restored.

    Example:
        >>> describe(dist.Uniform(-1.0, 1.0))
        {'distribution': 'Uniform', 'low': -1.0, 'high': 1.0}
    """
    name = named(type(prior), dist)
    # A copy: what a distribution is asked for, some keep, and then contradict themselves.
    prior = copy.copy(prior)
    if isinstance(name, str):
        arguments = list(inspect.signature(type(prior).__init__).parameters)[1:]
        # Of several ways to say the same, one.
        for kept, others in (
            ("probs", {"logits"}),
            ("gate", {"gate_logits"}),
            ("scale_tril", {"covariance_matrix", "precision_matrix"}),
        ):
            if kept in arguments:
                arguments = [argument for argument in arguments if argument not in others]
        described: dict[str, Any] = {"distribution": name}
        try:
            for argument in arguments:
                if argument != "validate_args":
                    attribute = "base_dist" if argument == "base_distribution" else argument
                    described[argument] = _plain(getattr(prior, attribute))
        except (AttributeError, TypeError):
            name = {OPAQUE: f"pyro.distributions.{name}"}
        else:
            return described
    # What it says of itself tells two of one class apart.
    said = {key: getattr(prior, key, None) for key in getattr(prior, "arg_constraints", {})}
    numbers = {key: value.tolist() for key, value in said.items() if isinstance(value, Tensor)}
    return {**name, "parameters": numbers}


def _plain(value: Any) -> Any:
    if isinstance(value, Distribution):
        described = describe(value)
        if OPAQUE in described:
            raise TypeError
        return described
    if isinstance(value, Tensor):
        return value.tolist()
    if not isinstance(value, int | float | str | None):
        raise TypeError
    return value


def restore(described: Mapping[str, Any]) -> Distribution:
    """The distribution that :func:`describe` described; runs no code but Pyro's constructors.

    Raises:
        DeclarationError: for an opaque description, or one of an unknown distribution.

    Example:
        >>> restore({"distribution": "Uniform", "low": -1.0, "high": 1.0}).entropy().item()
        0.6931471824645996
    """
    if OPAQUE in described:
        raise DeclarationError(
            "a saved code prior",
            got=f"{described[OPAQUE]}, which no numbers alone can make again",
            expected="a distribution that is saved with all that it is made of",
            fix="Build the InfoGAN as it was declared and call its restore().",
        )
    name = described.get("distribution")
    kind = getattr(dist, str(name), None)
    if not (inspect.isclass(kind) and issubclass(kind, dist.Distribution)):
        raise DeclarationError(
            "a saved code prior",
            got=name,
            expected="a distribution of pyro.distributions",
            fix="Build the InfoGAN as it was declared and call its restore().",
        )
    arguments: dict[str, Any] = {}
    for argument, value in described.items():
        if isinstance(value, Mapping):
            arguments[argument] = restore(value)
        elif isinstance(value, list | float | bool):
            arguments[argument] = torch.tensor(value)
        elif argument != "distribution":
            arguments[argument] = value
    return cast(Distribution, kind(**arguments))


def find(described: Any, namespace: ModuleType, what: str) -> Any:
    """The part that :func:`named` described.

    Raises:
        DeclarationError: for the user's own, which data cannot hold.
    """
    if isinstance(described, Mapping) and "partial" in described:
        return partial(find(described["partial"], namespace, what), **described["keywords"])
    if not isinstance(described, str) or described not in namespace.__all__:
        raise DeclarationError(
            f"the saved {what}",
            got=described,
            expected=f"a name in {namespace.__name__}",
            fix="Build the InfoGAN as it was declared and call its restore().",
        )
    return getattr(namespace, described)


def matches(one: Any, other: Any) -> bool:
    """Whether two descriptions say the same, up to rounding of their numbers."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(matches(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(matches, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)
    return one == other
