"""Which pixels the trunk's units answer to, by guided backpropagation through captum.

Springenberg et al. 2015 (arXiv 1412.6806). Radford, Metz and Chintala 2016, section 6.2, look so at
the last convolution of their discriminator. Going back through a rectifier, negative gradients are
dropped as well as what the rectifier itself stops. captum does so at ``nn.ReLU`` alone; a leaky one
is given to it, in a copy of the trunk, as a ReLU that leaks: the activations are the trunk's own,
and what goes back is the positive part of the leaky gradient. Other nonlinearities pass gradients
as they are.
"""

import copy
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..datasets import ImageSet
from ..datasets.images import tensor_of
from ..errors import DataError, DeclarationError, checked_count
from ..images import scaled
from ..infogan import BATCH, InfoGAN
from ..modes import evaluating
from .features import activations

__all__ = ["Responses", "responses"]


@dataclass(frozen=True, eq=False)
class Responses:
    """What some units of the last convolution answer to most.

    Attributes:
        images: (units, each, C, H, W), floats in [0, 1], the strongest answer first.
        gradients: guided gradient of the answer by each pixel, of the same shape.
    """

    images: Tensor
    gradients: Tensor


class _Leaky(nn.ReLU):
    """A leaky ReLU that captum takes for a ReLU."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, the name is torch's
        return F.leaky_relu(input, self.slope)


class _Last(nn.Module):
    """A trunk's last convolution's activation, with rectifiers as captum knows them."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(trunk)
        # A module that stands in several places is replaced in each.
        for place, part in list(self.trunk.named_modules(remove_duplicate=False)):
            if isinstance(part, nn.LeakyReLU):
                self.trunk.set_submodule(place, _Leaky(part.negative_slope))

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) → (n, K, h, w)."""
        found, _ = activations(self.trunk, images, lambda activation: activation)
        if not found:
            raise DataError(
                "trunk",
                got="no convolution",
                expected="one that has some: the units are theirs",
                fix="Build the trunk with nn.Conv2d.",
            )
        return found[-1]


def responses(gan: InfoGAN, images: ImageSet | Tensor, units: int = 6, each: int = 5) -> Responses:
    """Images that units of the last convolution answer to most, and to which of their pixels.

    A unit's answer is the largest of its activations over space.

    Args:
        gan: a trained InfoGAN.
        images: those to choose from, (n, C, H, W), uint8 or floats in [0, 1].
        units: how many, from the first.
        each: how many images of each.

    Raises:
        DeclarationError: where captum is not installed.
        DataError: for images that do not fit, fewer than ``each`` of them, a trunk without
            convolutions, or one with fewer units.

    Needs the extra ``attribution``.
    """
    try:
        from captum.attr import GuidedBackprop
    except ImportError:
        raise DeclarationError(
            "guided backpropagation",
            got="no captum",
            expected="captum installed",
            fix="Install it: pip install 'pyro-infogan[attribution]'.",
        ) from None
    checked_count("units", units, least=1)
    checked_count("each", each, least=1)
    images = tensor_of(images, gan.image_shape)
    if each > len(images):
        raise DataError(
            "each", got=each, expected=f"at most {len(images)} images", fix="Bring more images."
        )
    last = _Last(gan.trunk).requires_grad_(False)
    with evaluating(last):
        answers = []
        with torch.no_grad():
            for part in images.split(BATCH):
                inputs = scaled(part.to(gan.device)).to(gan.dtype)
                answers.append(last(inputs).flatten(2).amax(2))
        strength = torch.cat(answers)
        if units > strength.shape[1]:
            raise DataError(
                "units",
                got=units,
                expected=f"at most {strength.shape[1]}, as the last convolution has",
                fix="Ask for fewer.",
            )
        chosen = strength[:, :units].topk(each, dim=0).indices.T.flatten().cpu()
        seen = scaled(images[chosen].to(gan.device)).to(gan.dtype)
        unit = torch.arange(units).repeat_interleave(each).tolist()
        with torch.no_grad():
            activation = last(seen)
        width = activation.shape[3]
        places = [
            divmod(activation[index, at].argmax().item(), width) for index, at in enumerate(unit)
        ]
        targets = [(at, row, column) for at, (row, column) in zip(unit, places, strict=True)]
        with warnings.catch_warnings():
            # captum says that it sets hooks.
            warnings.simplefilter("ignore", UserWarning)
            gradients = GuidedBackprop(last).attribute(seen.requires_grad_(), target=targets)
    shape = (units, each)
    return Responses(
        seen.detach().float().cpu().unflatten(0, shape),
        gradients.detach().float().cpu().unflatten(0, shape),
    )
