r"""The variational bound on the mutual information between codes and images.

.. math:: L_I = E_{c \sim P(c), x \sim G(z, c)} [\log Q(c | x)] + H(c) \le I(c; G(z, c))

(Chen et al. 2016, equation 4.) It is kept code by code and image by image as
log q(c | x) − log p(c), whose mean is L_I, in nats, with the prior's true density: a constant would
serve the gradient, but only the density makes the number a bound.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from ..codes import CodePrior

__all__ = ["Information", "scores"]


@dataclass(frozen=True)
class Information:
    """What one code's images tell about it, in nats.

    Attributes:
        bound: the estimate of L_I.
        error: its standard error.
        entropy: H(c), the most that L_I can be for a discrete code.
    """

    bound: float
    error: float
    entropy: float

    @classmethod
    def of(cls, score: Tensor, entropy: float) -> "Information":
        """From scores (n,) of independent draws."""
        score = score.double()
        error = score.std().item() / math.sqrt(len(score))
        return cls(score.mean().item(), error, entropy)

    def __str__(self) -> str:
        return f"{self.bound:.3f} ± {self.error:.3f} nats (H = {self.entropy:.3f})"


def scores(
    prior: CodePrior, posterior: Mapping[str, Distribution], codes: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Log q(c | x) − log p(c) of each code, in nats, (n,).

    Args:
        prior: the code prior, P(c).
        posterior: Q(c | x) of each code, with batch shape (n,).
        codes: the drawn codes, (n, event shape).
    """
    log_p = prior.log_prob(codes)
    return {name: posterior[name].log_prob(codes[name]) - log_p[name] for name in log_p}
