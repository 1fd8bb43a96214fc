"""Q(c | x): one shared hidden layer above the trunk, then a family for each code."""

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import Distribution

from ..codes import CodePrior, support
from ..errors import DeclarationError
from ..randomness import seeded
from . import families

__all__ = ["Posterior", "parameters"]


# Draws of the prior that a new head must be able to score.
_TRIED = 64


class Posterior(nn.Module):
    """The amortised posterior: features of the trunk to a distribution for each code.

    Args:
        prior: the code prior.
        hidden: module from trunk features to ``features`` numbers, shared by all codes.
        features: width of ``hidden``'s output.
        chosen: a family for each code that is not to have its default.

    Raises:
        DeclarationError: for a family of a code that is not declared, or one whose distribution
            does not fit the code's prior.
    """

    def __init__(
        self,
        prior: CodePrior,
        hidden: nn.Module,
        features: int,
        chosen: Mapping[str, families.Family],
    ) -> None:
        super().__init__()
        if not isinstance(chosen, Mapping):
            raise DeclarationError(
                "posterior",
                got=repr(chosen),
                expected="a dictionary of code names and families",
                fix='Write it as in {"slant": families.TruncatedNormal}.',
            )
        prior.check_names(chosen, "posterior")
        self.hidden = hidden
        self.names = tuple(prior.sites)
        self.families: dict[str, families.Family] = {}
        # A list, since a ModuleDict refuses code names such as "type" and "keys".
        self.heads = nn.ModuleList()
        for name, code in prior.sites.items():
            try:
                family = chosen[name] if name in chosen else families.default(code)
                head = _built(family, code, features)
                _check_fit(code, head, features)
            except DeclarationError as error:
                raise error.within(f"code {name!r}") from None
            self.families[name] = family
            self.heads.append(head)

    def forward(self, features: Tensor) -> dict[str, Distribution]:
        """Q(c | x) of each code, with batch shape (*), from trunk features (*, F).

        The heads run in the weights' own precision even under autocast: log-probabilities in
        bfloat16 are too coarse to train on, and its rounded probabilities fail Pyro's validation.
        """
        *batch, width = features.shape
        hidden = self.hidden(features.reshape(-1, width)).unflatten(0, batch)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(next(self.hidden.parameters()).dtype)
            return {name: head(hidden) for name, head in zip(self.names, self.heads, strict=True)}


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
    if isinstance(posterior, dist.TransformedDistribution):
        with seeded(0):
            draws = posterior.sample((1_000,))
        return name, {"mean": draws.mean(0), "stddev": draws.std(0)}
    return name, {
        parameter: getattr(posterior, parameter)
        for parameter in posterior.arg_constraints
        if parameter != "logits"
    }


def _built(family: Any, prior: Distribution, features: int) -> nn.Module:
    """The family's module, or an error that says what a family is."""
    try:
        head = family(prior, features)
    except DeclarationError:
        raise
    except Exception as error:
        head, cause = f"{type(error).__name__}: {error}", error
    else:
        cause = None
    if not isinstance(head, nn.Module):
        raise DeclarationError(
            "posterior",
            got=f"{family!r}, which gave {head}",
            expected="a family: a function of (prior, features) that gives a torch module",
            fix="Pass a class of pyro_infogan.families, or one like them.",
        ) from cause
    return head


def _check_fit(prior: Distribution, head: nn.Module, features: int) -> None:
    """Refuse a head that would broadcast silently, or cannot score what the prior draws."""
    training = head.training
    device = next((parameter.device for parameter in head.parameters()), None)
    with torch.no_grad(), seeded(0):
        posterior = head.eval()(torch.zeros(2, features, device=device))
        head.train(training)
        if not isinstance(posterior, TorchDistributionMixin):
            raise DeclarationError(
                "posterior",
                got=f"a family that gives {type(posterior).__name__}",
                expected="a Pyro distribution",
                fix="Return one from the family's module.",
            )
        if posterior.batch_shape != (2,) or posterior.event_shape != prior.event_shape:
            raise DeclarationError(
                "posterior",
                got=f"batch shape {tuple(posterior.batch_shape)} and event shape "
                f"{tuple(posterior.event_shape)} for 2 images",
                expected=f"(2,) and {tuple(prior.event_shape)}, as the prior has",
                fix="Choose another family, or add .to_event() to its distribution.",
            )
        draws = prior.sample((_TRIED, 2))
        covered = support(posterior)
        fits = covered.is_discrete == support(prior).is_discrete
        if not (fits and covered.check(draws).all() and posterior.log_prob(draws).isfinite().all()):
            raise DeclarationError(
                "posterior",
                got=f"support {covered}",
                expected=f"one that covers the prior's, {support(prior)}",
                fix="Choose another family.",
            )
