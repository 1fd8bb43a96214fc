"""Families on the whole real line. For a code on an interval they leak outside it."""

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution

from ...errors import DeclarationError
from .head import FLOOR, UnitHead, positive

__all__ = [
    "FixedNormal",
    "Laplace",
    "MixtureOfNormals",
    "MultivariateNormal",
    "Normal",
    "StudentT",
]


class _LocationScale(UnitHead):
    """A location and a scale with a floor for each element, and ``more`` raw numbers."""

    def __init__(self, prior: Distribution, features: int, floor: float, more: int = 0) -> None:
        super().__init__(prior, features, 2 + more)
        self.floor = floor

    def read(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Location and scale (n, *event) in the prior's units, and the rest (n, *event, more)."""
        raw = self.elements(features)
        location = self.centre + self.scale * raw[..., 0]
        return location, self.scale * (positive(raw[..., 1]) + self.floor), raw[..., 2:]


class Normal(_LocationScale):
    """The paper's factored Gaussian: mean μ and standard deviation exp(s) + floor, both learned.

    Both are in the prior's own units (:func:`~pyro_infogan.codes.unit`).

    Args:
        prior: a continuous prior of one number, or a vector of such.
        features: width of Q's last hidden layer.
        floor: least standard deviation, as a share of the prior's scale. Without one the density
            at the right answer, and with it L_I of a continuous code, has no upper bound.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        super().__init__(prior, features, floor)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean, std, _ = self.read(features)
        return dist.Normal(mean, std).to_event(len(self.vector))


class FixedNormal(UnitHead):
    """A Gaussian whose mean is learned and whose standard deviation is not.

    With ``std=1``, as in the official code, L_I of a U(−1, 1) code is at most
    log 2 − ½ log 2π ≈ −0.23 nats.

    Args:
        prior: a continuous prior of one number, or a vector of such.
        features: width of Q's last hidden layer.
        std: the standard deviation, as a share of the prior's scale.
    """

    def __init__(self, prior: Distribution, features: int, std: float = 1.0) -> None:
        super().__init__(prior, features, 1)
        self.std = std

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        mean = self.centre + self.scale * self.elements(features).squeeze(-1)
        return dist.Normal(mean, self.scale * self.std).to_event(len(self.vector))


class Laplace(_LocationScale):
    """Location and scale, both learned, the scale with a floor as in :class:`Normal`."""

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        super().__init__(prior, features, floor)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        location, scale, _ = self.read(features)
        return dist.Laplace(location, scale).to_event(len(self.vector))


class StudentT(_LocationScale):
    """Location, scale with a floor, and degrees of freedom above 1: heavier tails than a normal."""

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        super().__init__(prior, features, floor, more=1)

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        location, scale, rest = self.read(features)
        freedom = 1.0 + positive(rest.squeeze(-1))
        return dist.StudentT(freedom, location, scale).to_event(len(self.vector))


class MixtureOfNormals(UnitHead):
    """Several normals for each element: for posteriors with more than one mode.

    Args:
        prior: a continuous prior of one number, or a vector of such.
        features: width of Q's last hidden layer.
        components: how many normals.
        floor: least standard deviation of each, as a share of the prior's scale.
    """

    def __init__(
        self, prior: Distribution, features: int, components: int = 3, floor: float = FLOOR
    ) -> None:
        super().__init__(prior, features, 3 * components)
        self.floor = floor

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        logits, mean, log_std = self.elements(features).unflatten(-1, (3, -1)).unbind(-2)
        centre, scale = self.centre.unsqueeze(-1), self.scale.unsqueeze(-1)
        parts = dist.Normal(centre + scale * mean, scale * (positive(log_std) + self.floor))
        mixture = dist.MixtureSameFamily(dist.Categorical(logits=logits), parts)
        return mixture.to_event(len(self.vector))


class MultivariateNormal(UnitHead):
    """A normal with full covariance over the numbers of one vector code.

    Args:
        prior: a continuous prior of event shape (k,).
        features: width of Q's last hidden layer.
        floor: least conditional standard deviation (diagonal of the covariance's Cholesky factor),
            as a share of the prior's scale.
    """

    def __init__(self, prior: Distribution, features: int, floor: float = FLOOR) -> None:
        if len(prior.event_shape) != 1:
            raise DeclarationError(
                "families.MultivariateNormal",
                got=f"a prior with event shape {tuple(prior.event_shape)}",
                expected="a vector code, event shape (k,)",
                fix="Declare it with .expand([k]).to_event(1), or use families.Normal.",
            )
        k = prior.event_shape[0]
        # k numbers an element for its row of the factor, and one for its mean.
        super().__init__(prior, features, k + 1)
        self.floor = floor

    def forward(self, features: Tensor) -> Distribution:
        """Q(c | x) with batch shape (n,), from features (n, F)."""
        raw = self.elements(features)
        mean, factor = raw[..., 0], raw[..., 1:]
        diagonal = positive(factor.diagonal(dim1=-2, dim2=-1)) + self.floor
        factor = factor.tril(-1) + torch.diag_embed(diagonal)
        scale = self.scale.expand(self.vector).unsqueeze(-1)
        return dist.MultivariateNormal(self.centre + self.scale * mean, scale_tril=scale * factor)
