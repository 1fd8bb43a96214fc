r"""The variational bound on the mutual information between codes and images.

.. math:: L_I = E_{c \sim P(c), x \sim G(z, c)} [\log Q(c | x)] + H(c) \le I(c; G(z, c))

(Chen et al. 2016, equation 4.) It is kept code by code and image by image as
log q(c | x) − log p(c), whose mean is L_I, in nats, with the prior's true density: a constant would
serve the gradient, but only the density makes the number a bound.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from ..codes import CodePrior, Entropy, Key, names_of
from .posterior import log_probs

__all__ = ["LEAST", "Information", "scores"]

LEAST = 0.05
"""Nats under which a code carries nothing worth a name."""
_ERRORS = 3
"""Standard errors that a bound must lie above 0."""


@dataclass(frozen=True)
class Information:
    """What one code's images tell about it, in nats.

    Attributes:
        bound: the estimate of L_I.
        error: its standard error.
        entropy: H(c), the most that L_I can be for a discrete code.
        entropy_error: its standard error; 0 where it is exact.
    """

    bound: float
    error: float
    entropy: float
    entropy_error: float = 0.0

    @classmethod
    def of(cls, score: Tensor, entropy: Entropy) -> "Information":
        """From scores (n,) of independent draws."""
        score = score.double()
        error = score.std().item() / math.sqrt(len(score))
        return cls(score.mean().item(), error, *entropy)

    @property
    def silent(self) -> bool:
        """Whether the code carries nothing: L_I is under 0.05 nats, or three errors of 0."""
        return self.bound < max(LEAST, _ERRORS * self.error)

    def __str__(self) -> str:
        return f"{self.bound:.3f} ± {self.error:.3f} nats (H = {self.entropy:.3f})"


def scores(
    prior: CodePrior, posterior: Mapping[Key, Distribution], codes: Mapping[str, Tensor]
) -> dict[Key, Tensor]:
    """Log q(c | x) − log p(c) of each code, in nats, (n,).

    Codes with a joint posterior have one score together. Where codes depend on each other, the
    prior's term is log p(c | earlier codes): the scores sum to the joint one, and the mean of each
    is a lower bound of its code's own information.

    Not so with a guide, whose term is log q(c | x, the guide's earlier codes): only the sum is a
    bound. The mean of one code's score is one on I(c; x | earlier codes) where prior and guide have
    the same order, and else none: of c₂ = c₁, a guide that reads c₂ first gives c₁ all of H(c₁),
    whatever the images say.

    Args:
        prior: the code prior, P(c).
        posterior: Q(c | x) of each code, with batch shape (n,).
        codes: the drawn codes, (n, event shape).
    """
    log_p, log_q = prior.log_prob(codes), log_probs(prior, posterior, codes)
    return {
        key: score - torch.stack([log_p[name] for name in names_of(key)]).sum(0)
        for key, score in log_q.items()
    }
