"""Code priors: what the generator's structured input may be, declared as Pyro distributions.

A declaration is a mapping from names to distributions. :class:`CodePrior` turns it into a Pyro
program with one ``sample`` statement a code, and answers the four questions the rest of the library
asks of a prior: draw codes, score them, encode them for the generator, and tell their entropy.
"""

import copy
import keyword
import math
from collections.abc import Callable, Iterable, Mapping
from functools import singledispatch
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from .errors import DataError, DeclarationError, InfoGANError
from .randomness import seeded

__all__ = ["CodePrior", "encode", "log_prob", "sample", "support", "unit"]

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


@singledispatch
def unit(prior: Distribution) -> tuple[Tensor, Tensor]:
    """Centre and scale that bring a continuous prior to the networks' range.

    An interval is brought to [−1, 1], an angle likewise from half a turn either way, any other
    support to mean 0 and standard deviation 1 (to itself where those do not exist). The paper's
    U(−1, 1) and a standard normal stay as they are.

    Returns:
        Two tensors that broadcast to the prior's event shape.

    Example:
        >>> centre, scale = unit(dist.Uniform(0.0, 360.0))
        >>> centre.item(), scale.item()
        (180.0, 180.0)
    """
    return _unit(base_support(prior), prior)


@unit.register(dist.VonMises)
def _(prior: Any) -> tuple[Tensor, Tensor]:
    return prior.loc, torch.full_like(prior.loc, math.pi)


@unit.register(dist.Independent)
def _(prior: Any) -> tuple[Tensor, Tensor]:
    return unit(prior.base_dist)


def element_of(prior: Any) -> Any:
    """The distribution of a vector code's elements, all of them in its batch; or the prior."""
    while isinstance(prior, dist.Independent):
        prior = prior.base_dist
    return prior


@singledispatch
def log_prob(prior: Distribution, value: Tensor) -> Tensor:
    """Log p(c) in nats, (*), of draws (*, event shape)."""
    return prior.log_prob(value)


@log_prob.register(dist.Uniform)
def _(prior: Any, value: Tensor) -> Tensor:
    # Rounding can make a draw of U(1000, 1001) its upper end, where torch calls the density 0.
    return prior.log_prob(value.clamp(max=torch.nextafter(prior.high, prior.low)))


@log_prob.register(dist.Independent)
def _(prior: Any, value: Tensor) -> Tensor:
    axes = prior.reinterpreted_batch_ndims
    scores = log_prob(prior.base_dist, value)
    return scores.flatten(-axes).sum(-1) if axes else scores


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


def _mapped(value: Any, fn: Callable[[Tensor], Tensor], seen: dict[int, Any] | None = None) -> Any:
    """``value`` with ``fn`` applied to every tensor inside a distribution.

    Distributions have no ``to``: this is what lets a prior follow its module to another device.
    """
    # A transform and its inverse hold each other.
    seen = {} if seen is None else seen
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, Distribution | Transform | constraints.Constraint):
        moved = seen[id(value)] = copy.copy(value)
        vars(moved).update({name: _mapped(item, fn, seen) for name, item in vars(value).items()})
        return moved
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        return type(value)(_mapped(item, fn, seen) for item in value)
    return value


def _checked(name: object, prior: object) -> Distribution:
    what = f"code {name!r}"
    usable = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    # Pyro's own sites, such as _RETURN, begin with an underscore.
    if not isinstance(name, str) or not usable or name.startswith("_"):
        raise DeclarationError(
            what,
            got=repr(name),
            expected="a name that is a Python identifier and does not begin with an underscore",
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
    if math.prod(prior.event_shape) == 0:
        raise DeclarationError(
            what,
            got=f"event shape {tuple(prior.event_shape)}",
            expected="at least one number",
            fix="Expand it to a positive size.",
        )
    learned = []
    _mapped(prior, lambda tensor: learned.append(tensor.requires_grad) or tensor)
    if any(learned):
        raise DeclarationError(
            what,
            got="a prior with a parameter that requires a gradient",
            expected="fixed numbers: a prior is not learned",
            fix="Detach it.",
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
        # One draw of each, for its shape, type and device.
        self._like = {name: prior.sample() for name, prior in self.sites.items()}
        self.widths = {
            name: encode(prior, self._like[name]).shape[-1] for name, prior in self.sites.items()
        }

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CodePrior":
        super()._apply(fn, recurse)
        self.sites = {name: _mapped(prior, fn) for name, prior in self.sites.items()}
        self._like = {name: fn(draw) for name, draw in self._like.items()}
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
        return {name: log_prob(prior, values[name]) for name, prior in self.sites.items()}

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
                entropies[name] = -log_prob(prior, draws).mean().item()
        return entropies

    def is_discrete(self, name: str) -> bool:
        """Whether a code takes countably many values."""
        return support(self.sites[name]).is_discrete

    def check_names(
        self, names: Iterable[str], what: str, error: type[InfoGANError] = DeclarationError
    ) -> None:
        """Refuse names that are no code's.

        Raises:
            InfoGANError: of the type ``error``, naming the unknown code and the declared ones.
        """
        for name in names:
            if name not in self.sites:
                raise error(
                    what,
                    got=repr(name),
                    expected=f"names among {list(self.sites)}",
                    fix="Rename it, or declare the code.",
                )

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
        if not isinstance(codes, Mapping):
            raise DataError(
                "held codes",
                got=repr(codes),
                expected="a dictionary of names and values",
                fix='Write them as in {"digit": 3}.',
            )
        self.check_names(codes, "held codes", error=DataError)
        return {name: self.fitted(name, value, (n,)) for name, value in codes.items()}

    def fitted(self, name: str, value: Any, batch: tuple[int, ...]) -> Tensor:
        """A value of one code, checked and expanded to (*batch, event shape).

        Raises:
            DataError: for a value of another shape, one that is not finite, or one that a discrete
                code cannot take.
        """
        prior = self.sites[name]
        like = self._like[name]
        shape = (*batch, *like.shape)
        try:
            given = torch.as_tensor(value, device=like.device)
            fitted = given.to(like.dtype).expand(shape)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(
                f"value of code {name!r}",
                got=f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value),
                expected=f"numbers that expand to shape {shape}",
                fix="Give one value for all images, or one for each.",
            ) from None
        discrete = self.is_discrete(name)
        good = support(prior).check(given.expand(shape)) if discrete else fitted.isfinite()
        if not good.all():
            raise DataError(
                f"value of code {name!r}",
                got=repr(value),
                expected=f"a draw of {support(prior)}" if discrete else "finite numbers",
                fix="Hold it at a value its prior can draw.",
            )
        return fitted
