"""Two ways to declare codes, one form: a Pyro program that draws, scores and knows its entropy."""

import itertools
import keyword
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, TransformedDistribution, constraints

from ..errors import DataError, DeclarationError, InfoGANError, in_short
from ..randomness import seeded
from .element import base_support, ends_of, log_prob, mapped, sample, support, traced
from .joint import Marginal

__all__ = [
    "NOISE",
    "PIXELS",
    "PLATE",
    "CodeProgram",
    "Dependent",
    "Entropy",
    "Independent",
    "is_masked",
    "nothing",
]

NOISE = "noise"
"""Site of the incompressible noise z."""
PLATE = "images"
"""Plate over the images of a batch."""
PIXELS = "pixels"
"""Site of observed images."""
RESERVED = (NOISE, PLATE, PIXELS)

_ENTROPY_DRAWS = 100_000
# Draws that tell whether a site of a program depends on others, and what its marginal is.
_PROBED = 2_000
# By how much what a network makes of equal rows may differ from row to row.
_ROUNDED = 1e-4
_STRAIGHT_THROUGH = (
    dist.RelaxedOneHotCategoricalStraightThrough,
    dist.RelaxedBernoulliStraightThrough,
)
# Draws are off their density by 0.007 nats, and by 0.014 at concentrations of 1 (Pyro 1.9): so much
# too high L_I would be.
_DRAWN_ROUGHLY = (dist.TruncatedPolyaGamma, dist.SineBivariateVonMises)
# Values together of the codes before one in an interval, up to which its ends are tried at all of
# them; and draws of what else is before it, beside each.
_MOST_CHOICES = 1_000
_REPEATED = 8


class Entropy(NamedTuple):
    """H(c) in nats, and the standard error of that number: 0 where it is exact."""

    nats: float
    error: float = 0.0

    @classmethod
    def together(cls, parts: Iterable["Entropy"]) -> "Entropy":
        """Of codes together, by the chain rule; its error is theirs at most, as they share draws.

        Example:
            >>> Entropy.together([Entropy(1.0, 0.25), Entropy(0.5, 0.25)])
            Entropy(nats=1.5, error=0.5)
        """
        nats, errors = zip(*parts, strict=True)
        return cls(sum(nats), sum(errors))


def _checked_name(name: object) -> str:
    """The name of a code, or why it cannot be one.

    Raises:
        DeclarationError: for a name that is no identifier or that the programs use.
    """
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
    if name in RESERVED:
        raise DeclarationError(
            what,
            got=repr(name),
            expected=f"a name other than {', '.join(map(repr, RESERVED))}, which the programs use",
            fix="Rename the code.",
        )
    return name


def _checked_prior(what: str, prior: object) -> Distribution:
    """A distribution that can be one code's prior by itself.

    Raises:
        DeclarationError: for anything but a Pyro distribution with empty batch shape.
    """
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
    return prior


def _checked_fixed(what: str, prior: Distribution) -> Distribution:
    if _learns(prior):
        raise DeclarationError(
            what,
            got="a prior with a parameter that requires a gradient",
            expected="fixed numbers in a dictionary",
            fix="Declare codes that learn as a torch.nn.Module that keeps its parameters and "
            "samples in forward(); or detach the tensor.",
        )
    return prior


def _parts(prior: Distribution) -> Iterator[Distribution]:
    """A distribution, and those that it is made of."""
    yield prior
    for value in vars(prior).values():
        if isinstance(value, Distribution):
            yield from _parts(value)


def is_masked(distribution: Distribution) -> bool:
    """Whether the probability of a distribution, or of a part of it, is left out."""
    return any(isinstance(part, dist.MaskedDistribution) for part in _parts(distribution))


def _draws_otherwise(part: Any) -> bool:
    """Whether torch or Pyro draw from another distribution than they score."""
    # A correlation in the third row has variance 0.30, where that of its density is 0.25 (of three
    # dimensions and concentration 1); the first alone is right.
    correlations = isinstance(part, dist.LKJCholesky) and part.dim > 2
    return correlations or isinstance(part, _DRAWN_ROUGHLY)


def _has_atoms(part: Distribution) -> bool:
    """Whether draws of numbers along a line fall on single ones of them, which no density tells."""
    if isinstance(part, dist.ZeroInflatedDistribution):
        return not support(part.base_dist).is_discrete
    return isinstance(part, dist.Delta)


def _parameters(prior: Distribution) -> Iterator[tuple[Distribution, str, Tensor]]:
    """The numbers that a distribution was made with, those of its parts included."""
    for part in _parts(prior):
        for name, value in vars(part).items():
            # A logit may be −∞: a category that never comes.
            if isinstance(value, Tensor) and name in part.arg_constraints and name != "logits":
                yield part, name, value


def _checked_numbers(what: str, prior: Distribution) -> Distribution:
    """Refuse numbers of which draws are no numbers, or densities that are none.

    Raises:
        DeclarationError: for a parameter that is not finite, an angle all but fixed, or a
            distribution that is masked, has atoms beside its density, or draws what it does not
            score.
    """
    if is_masked(prior):
        raise DeclarationError(
            what,
            got="a distribution whose probability is masked",
            expected="one that scores its draws",
            fix="Leave out .mask(); λ weighs a code.",
        )
    for part in _parts(prior):
        if isinstance(part, _STRAIGHT_THROUGH):
            raise DeclarationError(
                what,
                got=f"{type(part).__name__}, whose draws are not those that it scores",
                expected="a distribution that scores its draws",
                fix="Declare the relaxed distribution, or the discrete one.",
            )
        if _draws_otherwise(part):
            raise DeclarationError(
                what,
                got=f"{type(part).__name__}, whose draws do not follow its density",
                expected="a distribution that scores its draws",
                fix="Declare the numbers of the code by another distribution, such as Uniform.",
            )
        if _has_atoms(part):
            raise DeclarationError(
                what,
                got=f"{type(part).__name__}, which gives some numbers a probability of their own",
                expected="a density, or probabilities",
                fix="Leave out what is fixed; declare a choice as a code of its own.",
            )
    for part, name, value in _parameters(prior):
        if not value.isfinite().all():
            raise DeclarationError(
                what,
                got=f"{type(part).__name__} with {name} {value[~value.isfinite()][0].item()}",
                expected="finite numbers, in float32",
                fix="Bring the code to a scale near 1.",
            )
        # Beyond it the density is a difference of numbers that float32 cannot tell apart.
        if isinstance(part, dist.VonMises) and name == "concentration" and value.max() > 1e4:
            raise DeclarationError(
                what,
                got=f"an angle of concentration {value.max().item():g}",
                expected="at most 10,000, where its deviation is half a degree",
                fix="Declare a Normal, or lower the concentration.",
            )
    return prior


class _Seen(Messenger):
    """Keeps the names of the sites that a program has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def _pyro_post_sample(self, msg: Any) -> None:
        self.names.add(msg["name"])


class _Numbers(Messenger):
    """Looks at each site's numbers before it is drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if isinstance(msg["fn"], Distribution) and not msg["is_observed"]:
            _checked_numbers(f"code {msg['name']!r}", msg["fn"])


def _checked_batch(what: str, conditional: Distribution, n: int) -> None:
    """Refuse a site of a program that gives more or fewer than one value an image."""
    if conditional.batch_shape != (n,):
        raise DeclarationError(
            what,
            got=f"batch shape {tuple(conditional.batch_shape)} for {n} images",
            expected=f"({n},): one value an image",
            fix="Make a vector code with .to_event(1); use no plate of your own.",
        )


class CodeProgram(Protocol):
    """What :class:`~pyro_infogan.codes.CodePrior` asks of either way of declaring."""

    sites: dict[str, Distribution]
    """Each code by itself, with empty batch shape, as declared."""
    learned: frozenset[str]
    """Codes whose distribution has parameters that learn."""
    moving: frozenset[str]
    """Codes with ends that learn, or follow earlier codes without a known limit."""
    parents: frozenset[str]
    """Codes on which others depend."""

    def present(self) -> dict[str, Distribution]:
        """Each code by itself, as the parameters are now."""
        ...

    def draw(self, n: int, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``n`` draws of each code, (n, event shape), given those that are held.

        No plates are around them.

        Raises:
            DataError: for values given which another code has no distribution.
        """
        ...

    def log_prob(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log p(c | earlier codes) of each code, in nats, (n,)."""
        ...

    def entropy(self) -> dict[str, Entropy]:
        """H(c | earlier codes) of each code."""
        ...

    def __call__(self) -> dict[str, Tensor]:
        """Sample every site, in the plates around the call."""
        ...


class Independent(nn.Module):
    """Codes that a dictionary declares: no site depends on another.

    Args:
        declaration: a Pyro distribution for each code, with empty batch shape.
    """

    def __init__(self, declaration: Mapping[str, Distribution]) -> None:
        super().__init__()
        if not declaration:
            raise nothing("no codes")
        self.sites: dict[str, Distribution] = {}
        for name, prior in declaration.items():
            what = f"code {_checked_name(name)!r}"
            fixed = _checked_fixed(what, _checked_prior(what, prior))
            self.sites[name] = _checked_numbers(what, mapped(fixed, _of_default_type))
        self.learned = self.moving = self.parents = frozenset[str]()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Independent":
        super()._apply(fn, recurse)
        self.sites = {name: mapped(prior, fn) for name, prior in self.sites.items()}
        return self

    def forward(self) -> dict[str, Tensor]:
        """Sample every code's site, in the plates around the call."""
        return {name: sample(name, prior) for name, prior in self.sites.items()}

    def present(self) -> dict[str, Distribution]:
        """Each code by itself: as declared, for nothing here learns."""
        return self.sites

    def draw(self, n: int, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``n`` draws of each code, without the cost of a trace."""
        return {name: prior.sample((n,)) for name, prior in self.sites.items()} | dict(held)

    def log_prob(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log p(c) of each code."""
        return {name: log_prob(prior, values[name]) for name, prior in self.sites.items()}

    def entropy(self) -> dict[str, Entropy]:
        """H(c) of each code."""
        entropies = {}
        for name, prior in self.sites.items():
            try:
                entropies[name] = Entropy(prior.entropy().item())
            except NotImplementedError:
                with seeded(0):
                    draws = prior.sample((_ENTROPY_DRAWS,))
                entropies[name] = _mean(-log_prob(prior, draws))
        return entropies


class Dependent(nn.Module):
    """Codes that a Pyro program declares: a site may depend on earlier ones, and on parameters.

    The program is run under a plate of images, so that it has to be written for a batch: a
    ``sample`` statement returns one value an image. It is probed once, and refused where its sites
    change from draw to draw.

    Args:
        program: a function, or a module if it has tensors or parameters, with one ``sample``
            statement a code.

    Raises:
        DeclarationError: for a program that fails, has no sites or changes them, observes, uses
            Pyro's parameter store, or draws several values an image.
    """

    _place: Tensor

    def __init__(self, program: Callable[[], Any]) -> None:
        super().__init__()
        self.program = program
        # Where the program is to run: it may have no tensor that would tell.
        self.register_buffer("_place", torch.empty(0), persistent=False)
        store = pyro.get_param_store()
        # A refused program leaves what it adds to Pyro's parameters in a copy of their store.
        with seeded(0), torch.no_grad(), store.scope(store.get_state()):
            try:
                with _Numbers():
                    self._probe()
            except DeclarationError:
                raise
            except Exception as error:
                raise DeclarationError(
                    "codes, a program",
                    got=in_short(error),
                    expected="a program that runs for a batch: a sample statement returns one "
                    "value an image",
                    fix="Index with draws and use torch.where; Python's if cannot tell images "
                    "apart.",
                ) from error

    def _probe(self) -> None:
        """Learn the sites, and each code's distribution by itself."""
        self.names: tuple[str, ...] | None = None
        # First alone: a site that depends on no other shows its distribution as declared.
        alone = self._run(None)
        if not alone:
            raise nothing("a program without sample statements")
        self.names = tuple(alone)
        for _ in range(8):
            self._run(3)
        together = self._run(_PROBED)
        self.sites = _by_themselves(alone, together)
        with torch.enable_grad():
            felt = {name: site["fn"] for name, site in self._run(2).items()}
        self.learned = frozenset(name for name in felt if _learns(felt[name]))
        self.moving = frozenset(
            name
            for name in felt
            if _ends_learn(felt[name])
            or not (_has_fixed_ends(felt[name]) or self._knows_ends(name))
        )
        values = {name: site["value"] for name, site in together.items()}
        self.parents = frozenset(name for name in self.names if self._is_parent(name, values))

    def _is_parent(self, name: str, values: Mapping[str, Tensor]) -> bool:
        """Whether another code's distribution changes where this one alone has other values.

        Args:
            name: the code.
            values: draws of all codes, one for each probe.
        """
        before = self._run(_PROBED, values)
        try:
            after = self._run(_PROBED, {**values, name: values[name].roll(1, 0)})
        except Exception:  # distributions raise what they like
            # One of the codes after it has no distribution given a value that goes with others.
            return True
        return any(
            _differ(before[other]["fn"], after[other]["fn"])
            for other in self.sites
            if other != name
        )

    def _knows_ends(self, name: str) -> bool:
        """Whether a code lies between the ends of its site, whatever the codes before it are.

        So it does where its ends follow no others but those that can be tried at all of their
        values.
        """
        if not ends_of(self.sites[name]):
            return True
        choices = {
            earlier: prior.enumerate_support()
            for earlier, prior in itertools.takewhile(
                lambda one: one[0] != name, self.sites.items()
            )
            if prior.has_enumerate_support and not isinstance(prior, dist.Independent)
        }
        count = math.prod(map(len, choices.values()))
        if count > _MOST_CHOICES:
            return False
        places = itertools.product(*(range(len(values)) for values in choices.values()))
        index = torch.tensor(list(places)).repeat_interleave(_REPEATED, 0)
        held = {
            earlier: values[index[:, column]]
            for column, (earlier, values) in enumerate(choices.items())
        }
        try:
            ends = ends_of(self._run(len(index), held)[name]["fn"])
        except Exception:  # of values that never come together a program may fail as it likes
            return False
        low, high = (end.reshape(-1) for end in ends_of(self.sites[name]))
        for end in ends:
            # One row for each choice and repetition, or one for all.
            rows = end.reshape(len(index) if end.dim() and len(end) == len(index) else 1, -1)
            if ((rows < low) | (rows > high)).any():
                return False
            repeated = rows.unflatten(0, (count, -1)) if len(rows) > 1 else rows.unsqueeze(1)
            if (repeated != repeated[:, :1]).any():
                return False
        return True

    def present(self) -> dict[str, Distribution]:
        """Each code by itself, as the parameters are now."""
        with seeded(0), torch.no_grad():
            return _by_themselves(self._run(None), self._run(_PROBED))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Dependent":
        super()._apply(fn, recurse)
        self.sites = {name: mapped(prior, fn) for name, prior in self.sites.items()}
        return self

    def _on_its_device(self) -> AbstractContextManager[object]:
        """Inside, tensors that the program makes are made on the device of the networks."""
        # On the CPU they are anyhow, and each operation would take a little longer.
        return nullcontext() if self._place.device.type == "cpu" else self._place.device

    def _run(
        self, n: int | None, values: Mapping[str, Tensor] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The sites of one run by name, in a plate of ``n`` images."""
        program = self.program if values is None else poutine.condition(self.program, dict(values))
        if n is None:
            return self._checked_sites(traced(program))
        with self._on_its_device(), pyro.plate(PLATE, n):
            return self._checked_sites(traced(program), conditioned=values is not None)

    def _checked_sites(
        self, sites: dict[str, dict[str, Any]], conditioned: bool = False
    ) -> dict[str, dict[str, Any]]:
        for name, site in sites.items():
            if site["type"] == "param":
                raise DeclarationError(
                    "codes, a program",
                    got=f"a parameter {name!r} of Pyro's store",
                    expected="parameters of its own",
                    fix="Declare codes as a torch.nn.Module, not a pyro.nn.PyroModule, that keeps "
                    "them as nn.Parameter and samples in forward().",
                )
            if site["is_observed"] and not conditioned:
                raise DeclarationError(
                    f"code {name!r}",
                    got="an observed site",
                    expected="codes that are drawn",
                    fix="Leave out obs=, pyro.factor and pyro.deterministic.",
                )
            # Asked of the program by itself: whoever scales a model that it is part of may.
            if self.names is None and not (site["mask"] is None and _is_one(site["scale"])):
                raise DeclarationError(
                    f"code {name!r}",
                    got="a site whose probability is scaled or masked",
                    expected="the probability of its distribution",
                    fix="Leave out poutine.scale and poutine.mask; λ weighs a code.",
                )
        if self.names is not None and tuple(sites) != self.names:
            raise DeclarationError(
                "codes, a program",
                got=f"sites {list(sites)} in one run and {list(self.names)} in another",
                expected="the same sites in every draw",
                fix="Sample every code always, and let the generator ignore what does not count.",
            )
        return sites

    def forward(self) -> dict[str, Tensor]:
        """Sample every code's site, in the plates around the call."""
        with self._on_its_device():
            return {name: site["value"] for name, site in traced(self.program).items()}

    def draw(self, n: int, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``n`` draws of each code; gradients reach the parameters of reparameterised ones.

        A code that depends on a held one is drawn given it. Where all are held the program is not
        run: outside its support a code may leave those after it without a distribution.
        """
        if held.keys() >= self.sites.keys():
            return {name: held[name] for name in self.sites}
        seen = _Seen()
        try:
            with seen:
                sites = self._run(n, held or None)
        except InfoGANError:
            raise
        except Exception as error:  # distributions raise what they like
            failed = next((name for name in self.sites if name not in seen.names), None)
            if not held or failed is None:
                raise
            raise self._unfollowed(held, failed) from error
        return {name: site["value"] for name, site in sites.items()}

    def _unfollowed(self, held: Mapping[str, Tensor], failed: str) -> DataError:
        """The error for held values given which the program has no distribution of a code."""
        supports = {name: support(self.sites[name]) for name in held}
        outside = [
            name
            for name, covered in supports.items()
            if not constraints.is_dependent(covered) and not covered.check(held[name]).all()
        ]
        return DataError(
            f"held values of {', '.join(map(repr, outside or held))}",
            got=f"some{' outside the support' if outside else ''} given which {failed!r} has no "
            "distribution",
            expected="values from which the program can go on",
            fix="Hold them where the prior can draw them, or hold every code.",
        )

    def log_prob(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log p(c | earlier codes) of each code; gradients reach the program's parameters."""
        n = len(next(iter(values.values())))
        sites = self._run(n, {name: values[name] for name in self.sites})
        return {name: log_prob(site["fn"], site["value"]) for name, site in sites.items()}

    @torch.no_grad()
    def entropy(self) -> dict[str, Entropy]:
        """H(c | earlier codes) of each code: the mean over draws of the earlier ones."""
        with seeded(0):
            sites = self._run(_ENTROPY_DRAWS)
        entropies = {}
        for name, site in sites.items():
            try:
                terms = site["fn"].entropy()
            except NotImplementedError:
                terms = -log_prob(site["fn"], site["value"])
            # Equal terms are exact; rounding aside they have no spread.
            exact = terms.max() - terms.min() <= 1e-6 * terms.abs().max()
            entropies[name] = Entropy(terms[0].item()) if exact else _mean(terms)
        return entropies


def _is_one(scale: float | Tensor) -> bool:
    return not isinstance(scale, Tensor) and scale == 1


def _of_default_type(tensor: Tensor) -> Tensor:
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def _mean(terms: Tensor) -> Entropy:
    terms = terms.double()
    return Entropy(terms.mean().item(), terms.std().item() / math.sqrt(len(terms)))


def _by_themselves(
    alone: Mapping[str, Mapping[str, Any]], together: Mapping[str, Mapping[str, Any]]
) -> dict[str, Distribution]:
    """Each code's distribution by itself, of sites of a run alone and of one in a plate."""
    sites = {}
    for name, site in together.items():
        _checked_name(name)
        _checked_batch(f"code {name!r}", site["fn"], _PROBED)
        if _varies(site["fn"], _PROBED):
            prior = _marginal(site["fn"])
        else:
            prior = _checked_prior(f"code {name!r}", alone[name]["fn"])
        sites[name] = mapped(prior, lambda tensor: tensor.detach().clone())
    return sites


def _learns(distribution: Distribution) -> bool:
    """Whether a gradient leaves any number of a distribution."""
    found = []
    mapped(distribution, lambda tensor: found.append(tensor.requires_grad) or tensor)
    return any(found)


def _has_fixed_ends(distribution: Distribution) -> bool:
    """Whether the ends come with the kind of distribution, as the 0 of a Gamma does."""
    return not any(isinstance(end, Tensor) for end in vars(base_support(distribution)).values())


def _ends_learn(distribution: Distribution) -> bool:
    return any(end.requires_grad for end in ends_of(distribution))


def _tensors(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    """Those of a distribution, but for what its transforms remember of an earlier draw."""
    seen = set() if seen is None else seen
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item, seen)
    elif id(value) in seen:
        # A transform and its inverse hold each other.
        return
    elif isinstance(value, Distribution | Transform | constraints.Constraint):
        seen.add(id(value))
        for name, item in vars(value).items():
            if not name.startswith("_cache"):
                yield from _tensors(item, seen)


def _told(distribution: Distribution) -> Iterator[tuple[Tensor, float]]:
    """What tells a distribution from others, and by how much rounding may move it.

    Beside its tensors it is where its transforms take one place, the same for all images: what a
    conditional flow depends on is hidden in a network.
    """
    yield from ((tensor, 0.0) for tensor in _tensors(distribution))
    for part in _parts(distribution):
        if isinstance(part, TransformedDistribution):
            with seeded(0):
                place: Any = part.base_dist.sample()
            place = place[:1].expand_as(place) if place.dim() else place
            for transform in part.transforms:
                place = transform(place)
            yield place, _ROUNDED


def _differ(one: Distribution, other: Distribution) -> bool:
    """Whether two runs of a program gave a site other distributions."""
    mine, its = list(_told(one)), list(_told(other))
    return len(mine) != len(its) or any(
        not torch.isclose(this, that, off, off).all()
        for (this, off), (that, _) in zip(mine, its, strict=True)
    )


def _varies(conditional: Distribution, n: int) -> bool:
    """Whether a distribution differs from image to image."""
    return any(
        not torch.isclose(each, each[:1], off, off).all()
        for each, off in _told(conditional)
        if each.dim() > 0 and len(each) == n
    )


def _marginal(conditional: Any) -> Distribution:
    if not isinstance(conditional, dist.Independent):
        return Marginal(conditional)
    axes = conditional.reinterpreted_batch_ndims
    return cast(Distribution, Marginal(conditional.base_dist).to_event(axes))


def nothing(got: str) -> DeclarationError:
    """The error for a declaration that declares no code."""
    return DeclarationError(
        "codes",
        got=got,
        expected="a dictionary of names and Pyro distributions, or a Pyro program",
        fix='Declare at least one, such as {"slant": dist.Uniform(-1.0, 1.0)}.',
    )
