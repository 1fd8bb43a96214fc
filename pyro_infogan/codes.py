"""Code priors: what the generator's structured input may be, declared as Pyro distributions.

A declaration is a mapping from names to distributions. :class:`CodePrior` turns it into a Pyro
program with one ``sample`` statement a code, and answers the four questions the rest of the library
asks of a prior: draw codes, score them, encode them for the generator, and tell their entropy.
"""

import copy
import inspect
import keyword
import math
from collections.abc import Callable, Mapping
from functools import singledispatch
from types import ModuleType
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from .errors import DataError, DeclarationError
from .randomness import seeded

__all__ = ["CodePrior", "describe", "encode", "restore", "unit"]

NOISE = "noise"
"""Site of the incompressible noise z."""
PLATE = "images"
"""Plate over the images of a batch."""

_ENTROPY_DRAWS = 100_000


def support(prior: Distribution) -> constraints.Constraint:
    """Where a prior may put its draws.

    Raises:
        DeclarationError: for a distribution that does not say.
    """
    if prior.support is None:
        raise DeclarationError(
            "a code prior",
            got=f"{type(prior).__name__}, which has no support",
            expected="a distribution that says where its draws lie",
            fix="Give your distribution a support.",
        )
    return prior.support


def base_support(prior: Distribution) -> constraints.Constraint:
    """The support of one element of ``prior``, without the wrapping of vectors."""
    base = support(prior)
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    return base


def sample(site: str, distribution: Distribution) -> Tensor:
    """``pyro.sample``, typed for any Pyro distribution."""
    return pyro.sample(site, cast(Any, distribution))


@singledispatch
def _unit(base: constraints.Constraint, prior: Any) -> tuple[Tensor, Tensor]:
    del base
    try:
        centre, scale = prior.mean, prior.stddev
    except NotImplementedError:
        return torch.tensor(0.0), torch.tensor(1.0)
    known = centre.isfinite() & scale.isfinite() & (scale > 0)
    return centre.where(known, centre.new_tensor(0.0)), scale.where(known, scale.new_tensor(1.0))


@_unit.register(constraints.interval)
def _(base: Any, prior: Any) -> tuple[Tensor, Tensor]:
    del prior
    low, high = torch.as_tensor(base.lower_bound), torch.as_tensor(base.upper_bound)
    return (low + high) / 2, (high - low) / 2


def unit(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Centre and scale that bring a continuous prior to the networks' range.

    An interval is brought to [−1, 1], any other support to mean 0 and standard deviation 1 (to
    itself where those do not exist). The paper's U(−1, 1) and a standard normal stay as they are.

    Returns:
        Two tensors that broadcast to the prior's event shape.

    Example:
        >>> centre, scale = unit(dist.Uniform(0.0, 360.0))
        >>> centre.item(), scale.item()
        (180.0, 180.0)
    """
    return _unit(base_support(prior), prior)


@singledispatch
def encode(prior: Distribution, value: Tensor) -> Tensor:
    """What the generator reads of a code.

    Categories become one-hot, angles cosine and sine, other continuous codes :func:`unit` numbers;
    booleans, counts and one-hot codes stay as they are.

    Args:
        prior: the code's prior, whose type decides.
        value: draws, of shape (*, event shape).

    Returns:
        Floats of shape (*, width).

    Example:
        >>> encode(dist.Categorical(torch.ones(3)), torch.tensor([2, 0]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    if not support(prior).is_discrete:
        centre, scale = unit(prior)
        value = (value - centre) / scale
    value = value.float()
    axes = len(prior.event_shape)
    return value.flatten(-axes) if axes else value.unsqueeze(-1)


@encode.register(dist.Categorical)
def _(prior: Any, value: Tensor) -> Tensor:
    return F.one_hot(value.long(), prior.support.upper_bound + 1).float()


@encode.register(dist.VonMises)
def _(prior: Any, value: Tensor) -> Tensor:
    del prior
    return torch.stack([value.cos(), value.sin()], -1)


@encode.register(dist.Independent)
def _(prior: Any, value: Tensor) -> Tensor:
    return encode(prior.base_dist, value).flatten(-1 - prior.reinterpreted_batch_ndims)


OPAQUE = "opaque"
"""Key of a description that names the user's own code, which data cannot hold."""


def named(thing: object, namespace: ModuleType) -> str | dict[str, str]:
    """The name of a part of this library or of Pyro; a description that says so otherwise."""
    name = getattr(thing, "__name__", None)
    if name and getattr(namespace, name, None) is thing:
        return name
    return {OPAQUE: f"{getattr(thing, '__module__', '?')}.{name or type(thing).__name__}"}


def describe(prior: Distribution) -> dict[str, Any]:
    """A distribution as plain data: its name in ``pyro.distributions`` and its arguments.

    A distribution that is not one of Pyro's own is described as opaque, and cannot be restored.

    Example:
        >>> describe(dist.Uniform(-1.0, 1.0))
        {'distribution': 'Uniform', 'low': -1.0, 'high': 1.0}
    """
    name = named(type(prior), dist)
    if not isinstance(name, str):
        return name
    arguments = list(inspect.signature(type(prior).__init__).parameters)[1:]
    if {"probs", "logits"} <= set(arguments):
        arguments.remove("logits")
    described: dict[str, Any] = {"distribution": name}
    for argument in arguments:
        if argument == "validate_args":
            continue
        value = getattr(prior, "base_dist" if argument == "base_distribution" else argument)
        if isinstance(value, Distribution):
            value = describe(value)
        elif isinstance(value, Tensor):
            value = value.tolist()
        described[argument] = value
    return described


def restore(described: Mapping[str, Any]) -> Distribution:
    """The distribution that :func:`describe` described; runs no code but Pyro's constructors.

    Raises:
        DeclarationError: for an opaque description, or one of an unknown distribution.

    Example:
        >>> restore({"distribution": "Uniform", "low": -1.0, "high": 1.0}).entropy().item()
        0.6931471824645996
    """
    name = described.get("distribution", described.get(OPAQUE))
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
        elif isinstance(value, list | float):
            arguments[argument] = torch.tensor(value)
        elif argument != "distribution":
            arguments[argument] = value
    return cast(Distribution, kind(**arguments))


def _mapped(value: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    """``value`` with ``fn`` applied to every tensor inside a distribution.

    Distributions have no ``to``: this is what lets a prior follow its module to another device.
    """
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, Distribution | Transform | constraints.Constraint):
        moved = copy.copy(value)
        vars(moved).update({name: _mapped(item, fn) for name, item in vars(value).items()})
        return moved
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_mapped(item, fn) for item in value)
    return value


def _checked(name: object, prior: object) -> Distribution:
    what = f"code {name!r}"
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise DeclarationError(
            what,
            got=repr(name),
            expected="a name that is a Python identifier",
            fix='Use letters, digits and underscores, such as "slant".',
        )
    if name in (NOISE, PLATE):
        raise DeclarationError(
            what,
            got=repr(name),
            expected=f"a name other than {NOISE!r} and {PLATE!r}, which the programs use",
            fix="Rename the code.",
        )
    if isinstance(prior, Distribution) and not isinstance(prior, dist.Distribution):
        raise DeclarationError(
            what,
            got=f"torch.distributions.{type(prior).__name__}",
            expected="a Pyro distribution",
            fix=f"Write pyro.distributions.{type(prior).__name__}, with the same arguments.",
        )
    if not isinstance(prior, TorchDistributionMixin):
        raise DeclarationError(
            what,
            got=repr(prior),
            expected="a Pyro distribution",
            fix="Declare it as in pyro.distributions.Uniform(-1.0, 1.0).",
        )
    if prior.batch_shape:
        raise DeclarationError(
            what,
            got=f"batch shape {tuple(prior.batch_shape)}",
            expected="an empty batch shape: one draw is one code",
            fix=f"Make it a vector code with .to_event({len(prior.batch_shape)}).",
        )
    if not prior.event_shape.numel():
        raise DeclarationError(
            what,
            got=f"event shape {tuple(prior.event_shape)}",
            expected="at least one number",
            fix="Expand it to a positive size.",
        )
    return prior


class CodePrior(nn.Module):
    """The prior P(c) of all codes, as a Pyro program.

    Called inside a plate, it samples every code's site and returns the values by name. The priors'
    tensors follow the module across devices.

    Args:
        declaration: a Pyro distribution for each code, with empty batch shape.

    Raises:
        DeclarationError: for an empty declaration, a bad name, or a value that is not one code's
            Pyro distribution.

    Example:
        >>> digit = dist.Categorical(torch.ones(10))
        >>> prior = CodePrior({"digit": digit, "slant": dist.Normal(0.0, 1.0)})
        >>> prior.width
        11
        >>> {name: round(nats, 3) for name, nats in prior.entropy().items()}
        {'digit': 2.303, 'slant': 1.419}
    """

    def __init__(self, declaration: Mapping[str, Distribution]) -> None:
        super().__init__()
        if not isinstance(declaration, Mapping) or not declaration:
            raise DeclarationError(
                "codes",
                got="no codes" if isinstance(declaration, Mapping) else repr(declaration),
                expected="a dictionary of names and Pyro distributions",
                fix='Declare at least one, such as {"slant": dist.Uniform(-1.0, 1.0)}.',
            )
        default = torch.get_default_dtype()
        self.sites: dict[str, Distribution] = {
            name: _mapped(
                _checked(name, prior), lambda x: x.to(default) if x.is_floating_point() else x
            )
            for name, prior in declaration.items()
        }
        self.widths = {
            name: encode(prior, prior.sample()).shape[-1] for name, prior in self.sites.items()
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CodePrior":
        super()._apply(fn, recurse)
        self.sites = {name: _mapped(prior, fn) for name, prior in self.sites.items()}
        return self

    def forward(self) -> dict[str, Tensor]:
        """Sample every code's site; one draw, or as many as the plates around the call hold."""
        return {name: sample(name, prior) for name, prior in self.sites.items()}

    @property
    def width(self) -> int:
        """Width of all encodings side by side."""
        return sum(self.widths.values())

    def draw(self, n: int) -> dict[str, Tensor]:
        """``n`` draws of each code, (n, event shape), without the cost of a trace."""
        return {name: prior.sample((n,)) for name, prior in self.sites.items()}

    def log_prob(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log p(c) of each code, in nats, (n,)."""
        return {name: prior.log_prob(values[name]) for name, prior in self.sites.items()}

    def encode(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each code's encoding, (*, its width), in the order of the declaration."""
        return {name: encode(prior, values[name]) for name, prior in self.sites.items()}

    def entropy(self) -> dict[str, float]:
        """H(c) of each code, in nats; differential for a continuous one.

        Exact where the distribution has a closed form, else the mean of −log p(c) over 100,000
        draws.
        """
        entropies = {}
        for name, prior in self.sites.items():
            try:
                entropies[name] = prior.entropy().item()
            except NotImplementedError:
                with seeded(0):
                    draws = prior.sample((_ENTROPY_DRAWS,))
                entropies[name] = -prior.log_prob(draws).mean().item()
        return entropies

    def is_discrete(self, name: str) -> bool:
        """Whether a code takes countably many values."""
        return support(self.sites[name]).is_discrete

    def hold(self, codes: Mapping[str, Any], n: int) -> dict[str, Tensor]:
        """Values a user wants held, checked and expanded to (n, event shape).

        A continuous code may be held outside its support (the paper shows −2 to 2 of a code trained
        on −1 to 1); a discrete one may not.

        Args:
            codes: a number or tensor for each held code: one for all, or one each.
            n: how many images.

        Raises:
            DataError: for a code that is not declared, or a value that is not one of it.
        """
        return {name: self._held(name, value, n) for name, value in codes.items()}

    def _held(self, name: str, value: Any, n: int) -> Tensor:
        if name not in self.sites:
            raise DataError(
                "a held code",
                got=repr(name),
                expected=f"one of {list(self.sites)}",
                fix="Rename it.",
            )
        prior = self.sites[name]
        like = prior.sample()
        shape = (n, *like.shape)
        try:
            given = torch.as_tensor(value, device=like.device)
            held = given.to(like.dtype).expand(shape)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(
                f"held code {name!r}",
                got=f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value),
                expected=f"numbers that expand to shape {shape}",
                fix="Give one value for all images, or one for each.",
            ) from None
        discrete = self.is_discrete(name)
        good = support(prior).check(given.expand(shape)) if discrete else held.isfinite()
        if not good.all():
            raise DataError(
                f"held code {name!r}",
                got=repr(value),
                expected=f"a draw of {prior.support}" if discrete else "finite numbers",
                fix="Hold it at a value its prior can draw.",
            )
        return held


def matches(one: Any, other: Any) -> bool:
    """Whether two descriptions say the same, up to rounding of their numbers."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(matches(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(matches, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-7)
    return one == other
