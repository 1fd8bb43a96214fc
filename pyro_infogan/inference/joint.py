"""Posteriors of several codes together: one family for all of them, or a guide of the user's."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ..codes import PLATE, CodePrior, is_masked, log_prob, sample, traced
from ..errors import DeclarationError

__all__ = ["Guide", "GuideHead", "GuidePosterior", "built", "sample_parts"]

Guide = Callable[[CodePrior, int], nn.Module]
"""``guide(prior, features)`` makes a module that, called with features (n, features) in a plate of
n images, samples every code's site: a whole posterior, in which a code may depend on others."""


A_GUIDE = {
    "expected": "a dictionary of families, or a guide: a function of (prior, features) that gives "
    "a torch module",
    "fix": 'Write it as in {"slant": families.TruncatedNormal}.',
}


class GuidePosterior(TorchDistribution):
    """A user's guide at given features, as one distribution over all codes side by side.

    The guide's sites factor the posterior by the chain rule, so that every code has a score of its
    own: log q(c | x, the guide's earlier codes).

    Args:
        prior: the code prior.
        program: the guide's module.
        features: (n, F).
    """

    def __init__(self, prior: CodePrior, program: nn.Module, features: Tensor) -> None:
        self.prior, self.program, self.features = prior, program, features
        self.names = tuple(prior.sites)
        width = sum(math.prod(site.event_shape) for site in prior.sites.values())
        super().__init__(features.shape[:-1], torch.Size([width]), validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """None: it is given whole."""
        return {}

    @property
    def support(self) -> constraints.Constraint:
        """Any numbers: whether they are codes, the guide's sites say."""
        return constraints.real_vector

    def sites(self) -> dict[str, Tensor]:
        """Sample every code's site, in the plates around the call; by name."""
        return {name: site["value"] for name, site in self._run(self.program).items()}

    def log_probs(self, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log q(c | x, earlier codes) of each code (n, event shape), in nats, (n,)."""
        program = poutine.condition(self.program, {name: codes[name] for name in self.names})
        with pyro.plate(PLATE, len(self.features)):
            sites = self._run(program)
        return {name: log_prob(site["fn"], site["value"]) for name, site in sites.items()}

    def _run(self, program: Callable) -> dict[str, dict[str, Any]]:
        """The codes' sites of one run, in the order of the declaration."""
        sites = traced(program, self.features)
        if sorted(sites) != sorted(self.names):
            raise DeclarationError(
                "posterior, a guide",
                got=f"sites {list(sites)}",
                expected=f"a sample statement for each of {list(self.names)}, and no other",
                fix="Sample every code once, and keep parameters as nn.Parameter.",
            )
        return {name: sites[name] for name in self.names}

    def check_scored(self) -> None:
        """Refuse a guide that leaves out the probability of a site by itself.

        Whoever masks a program that it is part of may.

        Raises:
            DeclarationError: for one.
        """
        with pyro.plate(PLATE, len(self.features)):
            sites = self._run(self.program)
        for name, site in sites.items():
            if is_masked(site["fn"]) or site["mask"] is not None:
                raise DeclarationError(
                    f"posterior, a guide, code {name!r}",
                    got="a site whose probability is masked",
                    expected="one that scores its code",
                    fix="Leave out .mask() and poutine.mask.",
                )

    def _repeated(self, sample_shape: Sequence[int]) -> "GuidePosterior":
        """As many independent copies of every image, in one flat batch."""
        flat = self.features.expand(*sample_shape, *self.features.shape).flatten(0, -2)
        return GuidePosterior(self.prior, self.program, flat)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        """Draws (*sample_shape, n, width)."""
        repeated = self._repeated(sample_shape)
        with torch.no_grad(), pyro.plate(PLATE, len(repeated.features)):
            joined = self.prior.join(repeated.sites(), self.names)
        return joined.reshape(*sample_shape, *self.batch_shape, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Joint log-probability in nats of codes side by side (*, n, width)."""
        outer = value.shape[: value.dim() - 1 - len(self.batch_shape)]
        repeated = self._repeated(outer)
        codes = self.prior.split(value.reshape(-1, value.shape[-1]), self.names)
        total = torch.stack(list(repeated.log_probs(codes).values())).sum(0)
        return total.reshape(value.shape[:-1])


def built(
    factory: Callable[[Any, int], nn.Module], prior: Any, features: int, *, expected: str, fix: str
) -> nn.Module:
    """The module that a family or guide gives, or an error that says what one is.

    Raises:
        DeclarationError: for something that fails, or gives no module.
    """
    try:
        module, cause = factory(prior, features), None
    except DeclarationError:
        raise
    except Exception as error:
        module, cause = f"{type(error).__name__}: {error}", error
    if not isinstance(module, nn.Module):
        got = f"{factory!r}, which gave {module}"
        raise DeclarationError("posterior", got=got, expected=expected, fix=fix) from cause
    return module


class GuideHead(nn.Module):
    """A user's guide in the place of the families.

    Raises:
        DeclarationError: for something that gives no module, or a guide whose sites are not the
            codes.
    """

    def __init__(self, prior: CodePrior, guide: Guide, features: int) -> None:
        super().__init__()
        self.program = built(guide, prior, features, **A_GUIDE)
        # The prior is the InfoGAN's own submodule already.
        self._prior = [prior]

    def forward(self, features: Tensor) -> GuidePosterior:
        """The guide at features (n, F)."""
        return GuidePosterior(self._prior[0], self.program, features)


class _Part(TorchDistribution):
    """One code's share of a joint posterior, as a site of the guide.

    The codes of the joint are sampled one after the other from a single draw; the last of them
    carries the log-probability of all.
    """

    def __init__(self, whole: "_Whole", name: str) -> None:
        self.whole, self.name = whole, name
        self.prior = whole.prior.sites[name]
        shape = whole.joint.batch_shape
        super().__init__(shape, self.prior.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def has_rsample(self) -> bool:
        return self.whole.joint.has_rsample

    @property
    def support(self) -> constraints.Constraint | None:
        return self.prior.support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "_Part":
        del _instance
        self.whole.expand(torch.Size(batch_shape))
        return _Part(self.whole, self.name)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        if sample_shape:
            raise NotImplementedError("a part of a joint posterior is drawn once")
        return self.whole.drawn()[self.name]

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.whole.log_prob(self.name, value)


class _Whole:
    """A joint posterior, and what its parts were found to be so far."""

    def __init__(self, prior: CodePrior, names: tuple[str, ...], joint: Any) -> None:
        self.prior, self.names, self.joint = prior, names, joint
        self.values: dict[str, Tensor] = {}
        self._draw: dict[str, Tensor] = {}

    def expand(self, batch_shape: torch.Size) -> None:
        """Follow the plates around the call, which are the same for all parts."""
        if batch_shape != self.joint.batch_shape:
            self.joint = self.joint.expand(batch_shape)

    def drawn(self) -> dict[str, Tensor]:
        """One draw for all parts; refused once a part has another value."""
        if not self._draw:
            draw = self.joint.rsample() if self.joint.has_rsample else self.joint.sample()
            self._draw = self.prior.split(draw, self.names)
        self.check()
        return self._draw

    def check(self) -> None:
        """Refuse parts of which some were drawn and others have values of somebody's own.

        Raises:
            DeclarationError: for such.
        """
        if not self._draw:
            return
        # Handlers may hand a draw on as another tensor, such as a detached one.
        held = [
            name
            for name, value in self.values.items()
            if value is not self._draw[name] and not torch.equal(value, self._draw[name])
        ]
        if held:
            raise DeclarationError(
                f"joint posterior of {list(self.names)}",
                got=f"values for {held} alone",
                expected="values for all of its codes, or for none",
                fix="Condition the others too, or write the posterior as a guide, whose codes "
                "depend on each other one by one.",
            )

    def log_prob(self, name: str, value: Tensor) -> Tensor:
        """All of the joint's log-probability at the last part, none before it."""
        if name != self.names[-1]:
            return value.new_zeros(self.joint.batch_shape, dtype=torch.get_default_dtype())
        return self.joint.log_prob(self.prior.join(self.values | {name: value}, self.names))


def sample_parts(
    prior: CodePrior, names: tuple[str, ...], joint: Distribution
) -> dict[str, Tensor]:
    """Sample the sites of codes that share one distribution ``joint`` over them side by side.

    Their log-probabilities in a trace sum to the joint's.

    Raises:
        DeclarationError: where some of the sites, but not all, are conditioned.
    """
    whole = _Whole(prior, names, joint)
    for name in names:
        whole.values[name] = sample(name, _Part(whole, name))
    whole.check()
    return whole.values
