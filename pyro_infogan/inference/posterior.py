"""Q(c | x): one shared hidden layer above the trunk, then a family for each code."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution

from ..codes import (
    CodePrior,
    Key,
    Marginal,
    element_of,
    ends_of,
    is_masked,
    lies_on,
    names_of,
    sample,
    support,
)
from ..errors import DeclarationError, check_names
from ..randomness import seeded
from . import families
from .joint import Guide, GuideHead, GuidePosterior, built, sample_parts

__all__ = ["Chosen", "Posterior", "in_words", "log_probs", "parameters", "sample_codes"]

Chosen = Mapping[str, families.Family] | Mapping[Key, families.Family] | Guide
"""How a posterior is chosen: a family for some codes, or for several together under a tuple of
their names; or a whole guide."""

A_FAMILY = {
    "expected": "a family: a function of (prior, features) that gives a torch module",
    "fix": "Pass a class of pyro_infogan.families, or one like them.",
}
# Draws of the prior that a new head must be able to score.
_TRIED = 64


class Posterior(nn.Module):
    """The amortised posterior: features of the trunk to a distribution for each code.

    Args:
        prior: the code prior.
        hidden: module from trunk features to ``features`` numbers, shared by all codes.
        features: width of ``hidden``'s output.
        chosen: a family for each code that is not to have its default; under a tuple of names, one
            for several codes side by side; or a guide for all.

    Attributes:
        keys: what each head is the posterior of: a code, or a tuple of codes.
        scored: what has a score of its own. A guide scores code by code.
        families: the family of each key; none of a guide.

    Raises:
        DeclarationError: for a family of a code that is not declared or already has one, or one
            whose distribution does not fit the code's prior.
    """

    def __init__(self, prior: CodePrior, hidden: nn.Module, features: int, chosen: Chosen) -> None:
        super().__init__()
        self.hidden = hidden
        self.chosen = chosen
        self.keys: tuple[Key, ...]
        self.families: dict[Key, families.Family] = {}
        if isinstance(chosen, Mapping):
            self.keys = self.scored = _keys(prior, chosen)
            heads = {key: self._head(prior, key, chosen, features) for key in self.keys}
        elif callable(chosen):
            head = GuideHead(prior, chosen, features)
            self.keys, self.scored = (tuple(prior.sites),), tuple(prior.sites)
            heads = {self.keys[0]: _checked_fit(prior.joint(self.keys[0]), head, features)}
        else:
            raise DeclarationError(
                "posterior",
                got=repr(chosen),
                expected="a dictionary of code names and families, or a guide",
                fix='Write it as in {"slant": families.TruncatedNormal}.',
            )
        # A list, since a ModuleDict refuses code names such as "type" and "keys".
        self.heads = nn.ModuleList(heads.values())

    def _head(
        self, prior: CodePrior, key: Key, chosen: Mapping[Any, families.Family], features: int
    ) -> nn.Module:
        code = prior.sites[key] if isinstance(key, str) else prior.joint(key)
        moving = any(name in prior.moving for name in names_of(key))
        try:
            if key in chosen:
                family = chosen[key]
            else:
                family = _anywhere(code) if moving else families.default(code)
            self.families[key] = family
            head = _checked_fit(code, built(family, code, features, **A_FAMILY), features)
            if moving:
                _check_unbounded(head, features)
            return head
        except DeclarationError as error:
            what = f"code {key!r}" if isinstance(key, str) else f"codes {key!r}"
            raise error.within(what) from None

    def forward(self, features: Tensor) -> dict[Key, Distribution]:
        """Q(c | x) of each key, with batch shape (*), from trunk features (*, F).

        The heads run in the weights' own precision even under autocast: log-probabilities in
        bfloat16 are too coarse to train on, and its rounded probabilities fail Pyro's validation.
        """
        *batch, width = features.shape
        hidden = self.hidden(features.reshape(-1, width)).unflatten(0, batch)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(next(self.parameters(), hidden).dtype)
            return {key: head(hidden) for key, head in zip(self.keys, self.heads, strict=True)}


def _keys(prior: CodePrior, chosen: Mapping[Any, families.Family]) -> tuple[Key, ...]:
    """The codes in the order of the declaration, those with a joint family at the first of them."""
    group_of: dict[str, Key] = {}
    key: Key
    for key in chosen:
        names = names_of(key)
        check_names("posterior", names, prior.sites)
        counted = [name for name in names if not isinstance(key, str) and prior.is_discrete(name)]
        if counted:
            raise DeclarationError(
                f"joint posterior of {list(names)}",
                got=f"{counted[0]!r}, a discrete code",
                expected="continuous codes: one density has no place for probabilities",
                fix="Leave it out, or write the posterior as a guide.",
            )
        held = [name for name in names if not isinstance(key, str) and lies_on(prior.sites[name])]
        if held or (len(names) == 1 and not isinstance(key, str)):
            raise DeclarationError(
                f"joint posterior of {list(names)}",
                got=f"{held[0]!r}, whose numbers hold each other" if held else "one code",
                expected="several codes that vary freely",
                fix="Leave it out." if held else f"Write {names[0]!r}, without the tuple.",
            )
        taken = [name for name in names if name in group_of or names.count(name) > 1]
        if taken or not names:
            raise DeclarationError(
                "posterior",
                got=f"{taken[0]!r} in more than one family" if taken else "a tuple of no codes",
                expected="each code in one",
                fix="Leave it in one of them.",
            )
        group_of.update((name, key) for name in names)
    return tuple(dict.fromkeys(group_of.get(name, name) for name in prior.sites))


def log_probs(
    prior: CodePrior, posterior: Mapping[Key, Distribution], codes: Mapping[str, Tensor]
) -> dict[Key, Tensor]:
    """Log q(c | x) of everything that is scored, in nats, (n,).

    Args:
        prior: the code prior.
        posterior: what :class:`Posterior` gave for n images.
        codes: values (n, event shape) of every code.
    """
    scored: dict[Key, Tensor] = {}
    for key, q in posterior.items():
        if isinstance(q, GuidePosterior):
            scored |= q.log_probs(codes)
        else:
            value = codes[key] if isinstance(key, str) else prior.join(codes, key)
            scored[key] = q.log_prob(value)
    return scored


def sample_codes(prior: CodePrior, posterior: Mapping[Key, Distribution]) -> dict[str, Tensor]:
    """Sample every code's site from Q(c | x), in the plates around the call."""
    values: dict[str, Tensor] = {}
    for key, q in posterior.items():
        if isinstance(q, GuidePosterior):
            values |= q.sites()
        elif isinstance(key, str):
            values[key] = sample(key, q)
        else:
            values |= sample_parts(prior, key, q)
    return {name: values[name] for name in prior.sites}


def parameters(posterior: Any) -> tuple[str, dict[str, Tensor]]:
    """Name of a distribution's family and its parameters, each with the batch in front.

    One that has no parameters of its own, such as a flow, is told by the mean and standard
    deviation of 1,000 draws.

    Example:
        >>> name, values = parameters(dist.Normal(torch.zeros(2, 3), 1.0).to_event(1))
        >>> name, {key: value.shape for key, value in values.items()}
        ('Normal', {'loc': torch.Size([2, 3]), 'scale': torch.Size([2, 3])})
    """
    while isinstance(posterior, dist.Independent):
        posterior = posterior.base_dist
    name = type(posterior).__name__.strip("_")
    if isinstance(posterior, dist.MixtureSameFamily):
        _, parts = parameters(posterior.component_distribution)
        return name, {"weights": posterior.mixture_distribution.probs, **parts}
    if isinstance(posterior, dist.TransformedDistribution) or not posterior.arg_constraints:
        with seeded(0):
            draws = posterior.sample((1_000,))
        return name, {"mean": draws.mean(0), "stddev": draws.std(0)}
    return name, {
        parameter: getattr(posterior, parameter)
        for parameter in posterior.arg_constraints
        if parameter != "logits"
    }


def _first(head: nn.Module, features: int) -> Distribution:
    """What a head gives of two images whose features are all 0."""
    training = head.training
    device = next((parameter.device for parameter in head.parameters()), None)
    try:
        return head.eval()(torch.zeros(2, features, device=device))
    finally:
        head.train(training)


def _checked_fit(prior: Distribution, head: nn.Module, features: int) -> nn.Module:
    """A head that neither broadcasts silently nor fails to score what the prior draws.

    Raises:
        DeclarationError: for one that does.
    """
    with torch.no_grad(), seeded(0):
        posterior = _first(head, features)
        if not isinstance(posterior, TorchDistributionMixin):
            raise DeclarationError(
                "posterior",
                got=f"a family that gives {type(posterior).__name__}",
                expected="a Pyro distribution",
                fix="Return one from the family's module.",
            )
        if isinstance(posterior, GuidePosterior):
            posterior.check_scored()
        if is_masked(posterior):
            raise DeclarationError(
                "posterior",
                got="a distribution whose probability is masked",
                expected="one that scores codes",
                fix="Leave out .mask().",
            )
        if posterior.batch_shape != (2,) or posterior.event_shape != prior.event_shape:
            raise DeclarationError(
                "posterior",
                got=f"batch shape {tuple(posterior.batch_shape)} and event shape "
                f"{tuple(posterior.event_shape)} for 2 images",
                expected=f"(2,) and {tuple(prior.event_shape)}, as the prior has",
                fix="Choose another family, or add .to_event() to its distribution.",
            )
        if lies_on(posterior) != lies_on(prior):
            raise DeclarationError(
                "posterior",
                got=f"support {support(posterior)}",
                expected=f"that of the prior, {support(prior)}: densities over sets of different "
                "dimensions bound nothing",
                fix="Choose a family on the same set.",
            )
        try:
            posterior.sample()
        except NotImplementedError:
            raise DeclarationError(
                "posterior",
                got=f"{type(posterior).__name__}, which cannot be drawn from",
                expected="a distribution that draws",
                fix="Choose another family.",
            ) from None
        draws = prior.sample((2 * _TRIED,)).unflatten(0, (_TRIED, 2))
        covered = support(posterior)
        fits = covered.is_discrete == support(prior).is_discrete
        if not (fits and covered.check(draws).all() and posterior.log_prob(draws).isfinite().all()):
            raise DeclarationError(
                "posterior",
                got=f"support {covered}",
                expected=f"one that covers the prior's, {support(prior)}",
                fix="Choose another family.",
            )
    return head


def _anywhere(prior: Distribution) -> families.Family:
    """The default of numbers with ends that do not stay: what may tell any number."""
    if support(prior).is_discrete:
        return partial(families.DiscretizedLogistic, ends=False)
    return families.Normal


def _check_unbounded(head: nn.Module, features: int) -> None:
    """Refuse a family with ends for codes that will not stay between the declared ones.

    Outside it the family has no density, and as much of it as it had left would be no bound.
    """
    with torch.no_grad(), seeded(0):
        posterior = _first(head, features)
    if ends_of(posterior):
        raise DeclarationError(
            "posterior",
            got=f"a family inside {support(posterior)}",
            expected="one without ends: those of the code learn, or follow other codes without a "
            "known limit",
            fix="Use families.Normal, or partial(families.DiscretizedLogistic, ends=False) for "
            "whole numbers.",
        )


def in_words(prior: Distribution) -> str:
    """A code's prior in a few words, without the parameters that differ between its elements.

    Example:
        >>> in_words(dist.Categorical(torch.ones(10))), in_words(dist.Normal(-1.0, 2.0))
        ('Categorical, 10 categories', 'Normal(loc −1, scale 2)')
        >>> in_words(dist.Bernoulli(0.5).expand([3]).to_event(1))
        '3 × Bernoulli, 2 categories'
    """
    element = element_of(prior)
    if isinstance(element, Marginal):
        text = str(element)
    elif element.has_enumerate_support:
        text = f"{type(element).__name__}, {len(element.enumerate_support())} categories"
    else:
        family, values = parameters(element)
        said = [
            f"{key} {value.flatten()[0].item():.3g}".replace("-", "−")
            for key, value in values.items()
            if (value == value.flatten()[0]).all()
        ]
        text = f"{family}({', '.join(said)})"
    count = math.prod(element.batch_shape)
    return f"{count} × {text}" if element.batch_shape else text
