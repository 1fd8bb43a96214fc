r"""Codes with labels for some real images: semi-supervised InfoGAN (Spurr et al. 2017).

.. math:: \min_{G, Q} \max_D V(D, G) - \lambda_1 L_I(G, Q_{us})
          - \lambda_2 (L^1_{IS}(Q_{ss}) + L^2_{IS}(G, Q_{ss}))

A label is an observation of a code's site. The first term of the labels,
:math:`E_{(x, y)}[\log Q_{ss}(y | x)] + H(c_{ss})` on labelled real images, is all that trains
:math:`Q_{ss}`, and it trains the trunk; the second, L_I of the labelled codes on generated images,
moves the generator alone, so that a code makes what its label names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..codes import CodePrior, base_support, support
from ..errors import DataError, DeclarationError, check_names

__all__ = ["Alternating", "Guidance", "Labels", "Mixed", "Schedule", "checked_labels"]


class Schedule(Protocol):
    """How many images of each batch come from the labelled ones."""

    def labelled(self, batch_size: int, epoch: int, draw: float) -> int:
        """The number in a batch of the epoch (from 0), where ``draw`` is one of U(0, 1)."""
        ...


@dataclass(frozen=True)
class Alternating:
    """Steps that are wholly labelled or wholly unlabelled, as in the official code.

    Attributes:
        growth: by how much the share of unlabelled steps grows each epoch, from 0.
        most: where it ends.
    """

    growth: float = 0.1
    most: float = 0.99

    def __post_init__(self) -> None:
        if not (0 <= self.growth < float("inf") and 0 <= self.most < 1):
            raise DeclarationError(
                "Alternating",
                got=f"growth={self.growth}, most={self.most}",
                expected="growth of 0 or more, and most in [0, 1)",
                fix="With most=1 no step would have labels in the end.",
            )

    def labelled(self, batch_size: int, epoch: int, draw: float) -> int:
        """All or none."""
        return 0 if draw < min(self.most, self.growth * epoch) else batch_size


@dataclass(frozen=True)
class Mixed:
    """The same share of labelled images in each batch.

    Attributes:
        share: in (0, 1]; the others are drawn from all images.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise DeclarationError(
                "Mixed.share", got=self.share, expected="a number in (0, 1]", fix="Give one."
            )

    def labelled(self, batch_size: int, epoch: int, draw: float) -> int:
        """At least one."""
        del epoch, draw
        return max(1, round(self.share * batch_size))


@dataclass(frozen=True)
class Guidance:
    """What labels count for, where there are any.

    Attributes:
        weight: λ2 of both terms of the labels, 2 in the official code.
        schedule: how labelled images come into the batches.
    """

    weight: float = 2.0
    schedule: Schedule = Alternating()

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise DeclarationError(
                "Guidance.weight",
                got=self.weight,
                expected="a finite weight of 0 or more",
                fix="The official code's is 2.",
            )
        if isinstance(self.schedule, type) or not hasattr(self.schedule, "labelled"):
            raise DeclarationError(
                "Guidance.schedule",
                got=repr(self.schedule),
                expected="a schedule, such as Mixed() or Alternating()",
                fix="Give one, with its brackets.",
            )


@dataclass(frozen=True)
class Labels:
    """Labels of one code.

    Attributes:
        values: (n, event shape), values of the code; those of unlabelled images mean nothing.
        known: (n,), which images have one.
    """

    values: Tensor
    known: Tensor

    def at(self, places: Tensor) -> "Labels":
        """Those of some images."""
        return Labels(self.values[places], self.known[places])

    def first(self, count: int) -> "Labels":
        """The same, as if only the first images had any."""
        inside = torch.arange(len(self.known), device=self.known.device) < count
        return Labels(self.values, self.known & inside)

    def to(self, device: torch.device) -> "Labels":
        """The same, on a device."""
        return Labels(self.values.to(device), self.known.to(device))


def checked_labels(
    prior: CodePrior, labels: Mapping[str, Tensor], images: int
) -> dict[str, Labels]:
    """Labels as values of their codes.

    Args:
        prior: the code prior.
        labels: by code, (n, event shape): whole numbers for a discrete code, −1 for an image
            without one, and floats for any other, NaN for an image without one. A one-hot code
            takes the number of the class too, (n,).
        images: n.

    Raises:
        DeclarationError: for a code that is not declared.
        DataError: for labels of another length, shape or type, outside the code's support,
            infinite, or none; for labels that do not say which code they are of.
    """
    if not isinstance(labels, Mapping):
        raise DataError(
            "labels",
            got=type(labels).__name__,
            expected="a dictionary of them, by the name of their code",
            fix=f"Say whose they are: labels={{{next(iter(prior.sites))!r}: ...}}.",
        )
    check_names("labels", labels, prior.sites)
    return {name: _checked(prior, name, value, images) for name, value in labels.items()}


def _checked(prior: CodePrior, name: str, labels: Tensor, images: int) -> Labels:
    what, code = f"labels of code {name!r}", prior.sites[name]
    discrete, shape = prior.is_discrete(name), tuple(code.event_shape)
    if not isinstance(labels, Tensor) or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            what,
            got=str(labels.dtype) if isinstance(labels, Tensor) else type(labels).__name__,
            expected="a tensor of whole numbers or floats",
            fix="Say −1, or NaN among floats, for an image without a label.",
        )
    if labels.is_floating_point() == discrete:
        # Whole numbers would leave no −1 to a code that can be −1.
        raise DataError(
            what,
            got=str(labels.dtype),
            expected="whole numbers, −1 for an image without a label"
            if discrete
            else "floats, NaN for an image without a label",
            fix="Convert them with .long()."
            if discrete
            else "Where −1 stands for none: labels.float().masked_fill(labels == -1, torch.nan).",
        )
    # As the code has its values, so that a bound is the same number on both sides.
    like = prior.like(name)
    labels = labels.to(like.device)
    one_hot = discrete and base_support(code).event_dim == len(shape) == 1
    numbered = one_hot and labels.dim() == 1
    if tuple(labels.shape) != (images, *(() if numbered else shape)):
        raise DataError(
            what,
            got=f"shape {tuple(labels.shape)}",
            expected=f"{(images, *shape)}, one for each image"
            + (", or its class" if one_hot else ""),
            fix="Give one for each image, −1 or NaN where there is none.",
        )
    rows = labels.reshape(images, -1)
    known = ~rows.isnan().any(1) if labels.is_floating_point() else (rows != -1).all(1)
    if not known.any():
        raise DataError(
            what, got="none", expected="at least one", fix="Train without labels, or bring some."
        )
    if numbered:
        classes = shape[-1]
        inside = (labels >= 0) & (labels < classes)
        values = torch.nn.functional.one_hot(labels.long().clamp(0, classes - 1), classes)
        values = values.to(like.dtype)
    else:
        values = labels.to(like.dtype)
        inside = support(code).check(values)
        inside = (inside.reshape(images, -1) & values.reshape(images, -1).isfinite()).all(1)
    if not inside[known].all():
        raise DataError(
            what,
            got=f"{labels[known & ~inside][0].tolist()}",
            expected=f"values in the prior's support, {support(code)}",
            fix="Number classes from 0, and scale other labels to the prior's range.",
        )
    # What stands where there is no label is scored too, and then left out: it must be scorable.
    stand_in = values[known][0]
    filled = torch.where(known.view(-1, *[1] * (values.dim() - 1)), values, stand_in)
    return Labels(filled, known)
