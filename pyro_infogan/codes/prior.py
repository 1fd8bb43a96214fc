"""CodePrior: what the rest of the library asks of a declaration."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..errors import DataError, DeclarationError, check_names, in_short
from ..randomness import seeded
from .element import (
    base_support,
    bounds,
    flattened,
    form_of,
    is_angle,
    is_direction,
    is_share,
    least_and_greatest,
    log_prob,
    support,
)
from .encoding import Encoding, Units
from .joint import Joint
from .programs import CodeProgram, Dependent, Entropy, Independent, nothing

__all__ = ["CodePrior", "Declaration", "Key", "label", "names_of"]

# Draws that are scored to see whether a prior's density is theirs, and nats that they may be off
# beside their standard errors.
_SCORED = 10_000
# From here on float32 has not every whole number.
_WHOLE = 2**24
_ROUGHLY = 0.02

Declaration = Mapping[str, Distribution] | Callable[[], Any]
"""How codes are declared: a distribution for each name, or a Pyro program that samples them."""
Key = str | tuple[str, ...]
"""What is scored at once: a code, or several that share a joint posterior."""


def names_of(key: Key) -> tuple[str, ...]:
    """The codes of a key."""
    return (key,) if isinstance(key, str) else key


def label(key: Key) -> str:
    """A key as text, for files.

    Example:
        >>> label("slant"), label(("slant", "width"))
        ('slant', 'slant,width')
    """
    return ",".join(names_of(key))


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    """Inside, whatever a distribution raises is told as an error of the declaration."""
    try:
        yield
    except DeclarationError:
        raise
    except Exception as error:  # distributions raise what they like
        raise DeclarationError(
            what,
            got=in_short(error),
            expected="a prior that draws, and scores its own draws",
            fix="Bring it to a scale near 1, or choose another distribution.",
        ) from error


class CodePrior(nn.Module):
    """The prior P(c) of all codes, as a Pyro program.

    Called inside a plate, it samples every code's site and returns the values by name. A dictionary
    is the program of its independent sites; its tensors follow the module across devices. A program
    may let sites depend on earlier ones; one that holds tensors or parameters is a torch module.

    Scores and entropies are those of the chain rule: log p(c | earlier codes), whose sum over the
    codes is the joint one.

    Args:
        declaration: a Pyro distribution for each code, with empty batch shape, or a program with
            one ``pyro.sample`` statement a code.

    Attributes:
        sites: each code's distribution by itself; of a code that depends on others, its
            :class:`~pyro_infogan.codes.Marginal`. Posterior families and encodings follow from it.
        widths: width of each code's encoding.

    Raises:
        DeclarationError: for an empty declaration, a bad name, a value that is not one code's
            Pyro distribution, or a program that is not one value an image and site.

    Example:
        >>> import pyro
        >>> import pyro.distributions as dist
        >>> digit = dist.Categorical(torch.ones(10))
        >>> prior = CodePrior({"digit": digit, "slant": dist.Normal(0.0, 1.0)})
        >>> prior.width
        11
        >>> {name: round(entropy.nats, 3) for name, entropy in prior.entropy().items()}
        {'digit': 2.303, 'slant': 1.419}
        >>> def codes():
        ...     digit = pyro.sample("digit", dist.Categorical(torch.ones(10)))
        ...     pyro.sample("slant", dist.Normal(0.1 * digit, 0.3))
        >>> {name: round(entropy.nats, 3) for name, entropy in CodePrior(codes).entropy().items()}
        {'digit': 2.303, 'slant': 0.215}
    """

    def __init__(self, declaration: Declaration) -> None:
        super().__init__()
        self.program: CodeProgram
        if isinstance(declaration, Mapping):
            self.program = Independent(declaration)
        elif callable(declaration):
            self.program = Dependent(declaration)
        else:
            raise nothing(repr(declaration))
        for name, prior in self.sites.items():
            what = f"code {name!r}, {type(form_of(prior)).__name__}"
            with _blaming(what), torch.no_grad(), seeded(0):
                draws = prior.sample(torch.Size([2]))
                # What depends on other codes is not scored by itself.
                if self.written is None:
                    # Copies: some transforms remember their own draws, and score no others.
                    log_prob(prior, draws.clone())
        with _blaming("codes"):
            # One draw of each, for its shape, type and device.
            with torch.no_grad():
                self._like = {name: value[0] for name, value in self.draw(1).items()}
            self._units = nn.ModuleList(map(Encoding, self.sites.values()))
            self.widths = {
                name: encoding(self._like[name]).shape[-1]
                for name, encoding in zip(self.sites, self._units, strict=True)
            }
            self._entropy = self.program.entropy()
            self._check_entropy()

    @torch.no_grad()
    def _check_entropy(self) -> None:
        """Refuse a prior whose draws do not have the entropy of its density.

        In L_I the one is held against the other. A draw may be rounded to where the density is 0,
        or draws be heaped on the few numbers that float32 has between others.
        """
        with seeded(0):
            values = self.draw(_SCORED)
            log_p = self.log_prob(values)
        if self.written is not None:
            self._check_same(values, log_p)
        for name, (nats, error) in self._entropy.items():
            told = -log_p[name].double()
            whole = self.is_discrete(name) and values[name].abs().max() >= _WHOLE
            slack = 6 * math.hypot(error, told.std().item() / math.sqrt(_SCORED))
            apart = abs(told.mean().item() - nats)
            known = math.isfinite(nats) and math.isfinite(error) and apart <= slack + _ROUGHLY
            if whole or not known:
                raise DeclarationError(
                    f"code {name!r}",
                    got=f"an entropy of {nats:.3f} nats, and {told.mean().item():.3f} of its draws",
                    expected="draws that float32 can tell apart",
                    fix="Bring the code to a scale near 1, and concentrations nearer to it.",
                )

    def _check_same(self, values: Mapping[str, Tensor], log_p: Mapping[str, Tensor]) -> None:
        """Refuse a program of which the same values have another probability when asked again.

        What it draws beside its codes is drawn anew then, and the number is that of no code.
        """
        with seeded(1):
            again = self.log_prob(values)
        for name, value in log_p.items():
            if not torch.allclose(value, again[name], rtol=1e-4, atol=1e-4, equal_nan=True):
                raise DeclarationError(
                    f"code {name!r}",
                    got="a program that draws something that is no code, on which it depends",
                    expected="a density that follows from the codes alone",
                    fix="Sample that as a code too, or write the distribution without it.",
                )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CodePrior":
        super()._apply(fn, recurse)
        self._like = {name: fn(draw) for name, draw in self._like.items()}
        return self

    @property
    def sites(self) -> dict[str, Distribution]:
        """Each code by itself, with empty batch shape, as declared."""
        return self.program.sites

    def present(self) -> dict[str, Distribution]:
        """Each code by itself, as what learns is now."""
        return self.program.present() if self.learns else self.sites

    @property
    def learned(self) -> frozenset[str]:
        """Codes whose distribution has parameters of its own, or of a code before it."""
        return self.program.learned

    @property
    def moving(self) -> frozenset[str]:
        """Codes with ends that learn, or follow earlier codes without a known limit.

        No family inside the interval or half-line of the declaration covers them.
        """
        return self.program.moving

    @property
    def learns(self) -> bool:
        """Whether the prior has parameters to optimise."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def forward(self) -> dict[str, Tensor]:
        """Sample every code's site; one draw, or as many as the plates around the call hold."""
        return self.program()

    @property
    def width(self) -> int:
        """Width of all encodings side by side."""
        return sum(self.widths.values())

    def draw(self, n: int, held: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """``n`` draws of each code, (n, event shape).

        Args:
            n: how many.
            held: values (n, event shape) of codes that are not drawn, as under ``poutine.do``:
                what depends on them is drawn given them.

        Raises:
            DataError: for held values given which another code has no distribution.
        """
        return self.program.draw(n, held or {})

    def log_prob(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log p(c | earlier codes) of each code, in nats, (n,)."""
        return self.program.log_prob(values)

    def encode(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each code's encoding, (*, its width), in the order of the declaration."""
        return {
            name: encoding(values[name])
            for name, encoding in zip(self.sites, self._units, strict=True)
        }

    def unit(self, name: str) -> Units:
        """Centre and scale of a code as it was declared: :func:`~pyro_infogan.codes.unit`."""
        module: Any = self._units[list(self.sites).index(name)]
        return module.centre, module.scale

    def usual(self, name: str) -> tuple[Tensor, Tensor]:
        """From where to where a code of numbers mostly lies, two tensors of its event shape.

        The range of :meth:`unit`; of a half-line what is inside of it. A share goes from 0 to 1, a
        coordinate of a direction from −1 to 1.

        Example:
            >>> import pyro.distributions as dist
            >>> low, high = CodePrior({"size": dist.LogNormal(0.0, 1.0)}).usual("size")
            >>> round(low.item(), 2), round(high.item(), 2)
            (0.0, 3.81)
        """
        return self._around(name, 1)

    def shown(self, name: str) -> tuple[Tensor, Tensor]:
        """From where to where a code of numbers is shown, two tensors of its event shape.

        About the middle of :meth:`usual` twice as far, as the paper shows −2 to 2 of a code trained
        on −1 to 1. No further than usual go shares and directions, an angle, which is once around,
        and a code on which others depend: beyond it they may have no distribution, as there is no
        normal of a scale below 0.

        Example:
            >>> import pyro.distributions as dist
            >>> low, high = CodePrior({"slant": dist.Uniform(-1.0, 1.0)}).shown("slant")
            >>> low.item(), high.item()
            (-2.0, 2.0)
            >>> low, high = CodePrior({"gap": dist.Exponential(1.0)}).shown("gap")
            >>> low.item(), high.item()
            (0.0, 3.0)
            >>> import pyro
            >>> def spread():
            ...     spread = pyro.sample("spread", dist.Uniform(0.0, 1.0))
            ...     pyro.sample("style", dist.Normal(0.0, spread + 0.1))
            >>> low, high = CodePrior(spread).shown("spread")
            >>> low.item(), high.item()
            (0.0, 1.0)
        """
        once = is_angle(self.sites[name]) or name in self.program.parents
        return self._around(name, 1 if once else 2)

    def _around(self, name: str, scales: int) -> tuple[Tensor, Tensor]:
        """So many scales about a code's centre, if it may lie there."""
        prior = self.sites[name]
        centre, scale = (part.expand(prior.event_shape) for part in self.unit(name))
        least, greatest = (end.to(centre.device) for end in least_and_greatest(prior))
        if is_share(prior) or is_direction(prior):
            return least, greatest
        low, high = centre - scales * scale, centre + scales * scale
        # Beyond an interval a code is extrapolated; a half-line goes on inside.
        half = least.isinf() | greatest.isinf()
        return low.maximum(least).where(half, low), high.minimum(greatest).where(half, high)

    def entropy(self) -> dict[str, Entropy]:
        """H(c | earlier codes) of each code, in nats; differential for a continuous one.

        Exact, with error 0, where the distributions have a closed form that does not vary; else the
        mean over 100,000 draws, of the closed form or of −log p(c).
        """
        if self.learns:
            self._entropy = self.program.entropy()
        return self._entropy

    # Codes side by side, for joint posteriors

    def joint(self, names: tuple[str, ...]) -> Joint:
        """Several codes as one vector."""
        return Joint([self.sites[name] for name in names], lambda n: self._drawn(n, names))

    def _drawn(self, n: int, names: tuple[str, ...]) -> list[Tensor]:
        draws = self.draw(n)
        return [draws[name].detach() for name in names]

    def join(self, values: Mapping[str, Tensor], names: tuple[str, ...]) -> Tensor:
        """Values (*, event shape) of several codes as one tensor (*, width)."""
        parts = []
        for name in names:
            batch = values[name].dim() - self._like[name].dim()
            parts.append(flattened(values[name], batch).to(torch.get_default_dtype()))
        return torch.cat(parts, -1)

    def split(self, joined: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """The way back from :meth:`join`."""
        likes = [self._like[name] for name in names]
        parts = joined.split([like.numel() for like in likes], -1)
        return {
            name: part.reshape(*joined.shape[:-1], *like.shape).to(like.dtype)
            for name, part, like in zip(names, parts, likes, strict=True)
        }

    @property
    def written(self) -> Callable[[], Any] | None:
        """The program as its author wrote it; None for a dictionary."""
        return self.program.program if isinstance(self.program, Dependent) else None

    def like(self, name: str) -> Tensor:
        """A value of a code, (event shape), for its type and device."""
        return self._like[name]

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
        if not isinstance(codes, Mapping):
            raise DataError(
                "held codes",
                got=repr(codes),
                expected="a dictionary of names and values",
                fix='Write them as in {"digit": 3}.',
            )
        check_names("held codes", codes, self.sites, DataError)
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
                expected=_values_of(prior) if discrete else "finite numbers",
                fix="Hold it at a value its prior can draw.",
            )
        return fitted


def _values_of(prior: Distribution) -> str:
    """What a discrete code may be, in words."""
    base: Any = base_support(prior)
    if isinstance(base, type(constraints.boolean)):
        return "0 or 1"
    if isinstance(base, constraints.integer_interval):
        low, high = bounds(base)
        if low.numel() == high.numel() == 1:
            return f"a whole number from {low.item():g} to {high.item():g}"
    return f"a draw of {support(prior)}"
