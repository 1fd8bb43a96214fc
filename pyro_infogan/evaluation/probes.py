"""How much a linear classifier with few labels makes of the trunk's features.

Radford, Metz and Chintala 2016 (arXiv 1511.06434), section 5: an L2-regularised linear SVM with
squared hinge loss, one class against the rest, on :func:`grid_features`. The same on the features
of a trunk that was never trained tells what training gave, and on raw pixels what the trunk gave.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor

from ..datasets import ImageSet
from ..errors import DataError, checked_count
from ..images import checked_images
from ..infogan import InfoGAN
from ..randomness import derived, seeded
from .features import NUMBERS, grid_features, labelled, pixels, untrained_trunk

__all__ = ["Probe", "Probes", "probe"]

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried: how much a mistake costs beside the weights' squares."""
_VALIDATED = 10_000
"""Images that C is chosen by, at most, as in the paper; of a small set, a sixth."""
_ITERATIONS = 100
_TESTED = 10_000
"""Test images whose features are held at once."""


@dataclass(frozen=True)
class Probe:
    """How well linear SVMs on one kind of features do.

    Attributes:
        accuracy: share of test images whose class is found, mean over draws.
        interval: half the width of its 95 % interval, by Student's t over draws of the labels;
            None for a single draw.
        accuracies: of each draw.
        penalties: C of each draw.
        width: how many features an image has.
    """

    accuracy: float
    interval: float | None
    accuracies: list[float]
    penalties: list[float]
    width: int

    def __str__(self) -> str:
        error = "" if self.interval is None else f" ± {self.interval:.4f}"
        return f"{self.accuracy:.4f}{error}"


@dataclass(frozen=True)
class Probes:
    """What :func:`probe` measured.

    Attributes:
        trunk: on the trunk's features.
        random: on those of the same trunk, never trained.
        pixels: on raw pixels.
        labels: images of each class that an SVM was fitted to; None for all.
        fitted: images that each was fitted to.
        validated: other training images that C was chosen by.
        images: how many test images they were measured on.
    """

    trunk: Probe
    random: Probe
    pixels: Probe
    labels: int | None
    fitted: int
    validated: int
    images: int

    def __str__(self) -> str:
        given = f"{self.fitted} labels" if self.labels is None else f"{self.labels} labels a class"
        return (
            f"linear probe with {given}, and {self.validated} more to choose C by: trunk "
            f"{self.trunk}, untrained trunk {self.random}, raw pixels {self.pixels} on "
            f"{self.images} images"
        )


def probe(
    gan: InfoGAN,
    train: ImageSet,
    test: ImageSet,
    labels: int | None = None,
    draws: int = 5,
    seed: int = 0,
) -> Probes:
    """Fit linear SVMs to the features of some labelled images, and measure them on others.

    In each draw a sixth of the training images, 10,000 at most, is set aside to choose C by, and
    labels are drawn from the rest. Features are centred and divided by one number, so that their
    mean squared norm is 1: C then means the same of any features, and units that hardly ever vary
    are not blown up, as dividing each by its own deviation would.

    Features are float32; so that they fit into 2 GB, at most 500 million numbers are fitted to, and
    of more, images are drawn.

    Args:
        gan: a trained InfoGAN.
        train: images to draw from; those without a label are left out.
        test: images to measure on; those without a label are left out.
        labels: how many images of each class to fit to; all that are not set aside, by default.
        draws: how many times to set aside and draw anew; the mean is taken.
        seed: of the draws, and of the untrained trunk.

    Raises:
        DataError: for images that do not fit or have no labels, fewer than two classes, or fewer
            images of a class than are to be drawn.
    """
    if labels is not None:
        checked_count("labels", labels, least=1)
    checked_count("draws", draws, least=1)
    train, test = labelled(train, "training images"), labelled(test, "test images")
    for dataset in (train, test):
        checked_images(dataset.images, gan.image_shape)
    if len(train.labels.unique()) < 2:
        raise DataError(
            "training images",
            got="one class",
            expected="two or more",
            fix="Bring images of the others.",
        )
    random = untrained_trunk(gan, derived(seed, 1))
    kinds: list[Callable[[Tensor], Tensor]] = [
        lambda images: grid_features(gan, images),
        lambda images: grid_features(gan, images, random),
        pixels,
    ]
    room = NUMBERS // max(features(train.images[:1]).shape[1] for features in kinds)
    splits = [split(train.labels, labels, room, derived(seed, 0, index)) for index in range(draws)]
    trunk, untrained, raw = (
        _probed(features, train, test, splits, gan.device) for features in kinds
    )
    fitted, validated = (len(part) for part in splits[0])
    return Probes(trunk, untrained, raw, labels, fitted, validated, len(test))


def split(labels: Tensor, each: int | None, room: int, seed: int) -> tuple[Tensor, Tensor]:
    """Places of the images to fit to, and of others to choose C by.

    Args:
        labels: of all images, (n,), from 0 up.
        each: how many of each class to fit to; all that are left, by default.
        room: how many there may be in all.
        seed: of the draw.

    Raises:
        DataError: where a class has too few images, or all of them together have no room.
    """
    with seeded(seed):
        order = torch.randperm(len(labels))
    aside = max(1, min(_VALIDATED, len(labels) // 6))
    validation, rest = order[:aside], order[aside:]
    if each is not None:
        places = {label: rest[labels[rest] == label][:each] for label in labels.unique().tolist()}
        for label, found in places.items():
            if len(found) < each:
                raise DataError(
                    f"training images of class {label}",
                    got=f"{len(found)} beside those set aside to choose C by",
                    expected=f"{each} or more",
                    fix="Ask for fewer labels, or bring more images.",
                )
        rest = torch.cat(list(places.values()))
        if len(rest) > room:
            raise DataError(
                "labels",
                got=f"{len(rest)} images in all",
                expected=f"at most {room}, so that their features fit into memory",
                fix="Ask for fewer.",
            )
    # In order, since the images may be mapped from a file.
    return rest[:room].sort().values, validation.sort().values


def _probed(
    features: Callable[[Tensor], Tensor],
    train: ImageSet,
    test: ImageSet,
    splits: list[tuple[Tensor, Tensor]],
    device: torch.device,
) -> Probe:
    def seen(dataset: ImageSet, places: Tensor) -> tuple[Tensor, Tensor]:
        return features(dataset.images[places]).to(device), dataset.labels[places].to(device)

    fits = [best(*seen(train, chosen), *seen(train, others)) for chosen, others in splits]
    right = torch.zeros(len(fits), dtype=torch.float64)
    for places in torch.arange(len(test)).split(_TESTED):
        found, labels = seen(test, places)
        right += torch.stack([(fit.find(found) == labels).sum() for fit in fits]).cpu()
    accuracies = right / len(test)
    count = len(fits)
    interval = None
    if count > 1:
        error = accuracies.std().item() / math.sqrt(count)
        interval = float(scipy.stats.t.ppf(0.975, count - 1) * error)
    return Probe(
        accuracies.mean().item(),
        interval,
        accuracies.tolist(),
        [fit.penalty for fit in fits],
        len(fits[0].weights),
    )


@dataclass(frozen=True, eq=False)
class Machine:
    """Linear SVMs, one class against the rest.

    Attributes:
        centre: mean of the features it was fitted to, (width,).
        scale: what centred features are divided by.
        weights: (width, classes).
        offsets: (classes,).
        classes: the labels.
        penalty: C.
    """

    centre: Tensor
    scale: Tensor
    weights: Tensor
    offsets: Tensor
    classes: Tensor
    penalty: float

    def find(self, features: Tensor) -> Tensor:
        """The class of each image with these features (n, width)."""
        scores = (features - self.centre) / self.scale @ self.weights + self.offsets
        return self.classes[scores.argmax(1)]


def best(features: Tensor, labels: Tensor, others: Tensor, other_labels: Tensor) -> Machine:
    """The machine whose C does best on other images; of equal ones, that of the smallest.

    ``features`` (n, width) are centred and scaled in place, as they may be most of the memory.
    """
    classes, truth = labels.unique(return_inverse=True)
    centre = features.mean(0)
    features -= centre
    scale = _size(features)
    features /= scale
    sides = 2.0 * F.one_hot(truth, len(classes)) - 1
    weights = features.new_zeros(features.shape[1], len(classes))
    offsets = features.new_zeros(len(classes))
    found: list[tuple[float, Machine]] = []
    for penalty in PENALTIES:
        weights, offsets = fitted(features, sides, penalty, weights, offsets)
        machine = Machine(centre, scale, weights, offsets, classes, penalty)
        right = (machine.find(others) == other_labels).float().mean().item()
        found.append((right, machine))
    return max(found, key=lambda pair: pair[0])[1]


def _size(features: Tensor) -> Tensor:
    """Root of the mean squared norm; 1 of features that are all alike, and have no scale."""
    size = torch.linalg.vector_norm(features) / math.sqrt(len(features))
    return torch.where(size > 0, size, 1.0)


def fitted(
    features: Tensor, sides: Tensor, penalty: float, weights: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights and offsets that minimise ½‖w‖² + ½b² + C Σ max(0, 1 − y(w·x + b))² of each class.

    That is LIBLINEAR's objective. All classes are minimised at once, by L-BFGS in float32, which
    takes matrix products of the features and no copy of them.

    Args:
        features: (n, width).
        sides: y, 1 for images of a class and −1 for others, (n, classes).
        penalty: C.
        weights: where to start, (width, classes).
        offsets: the same, (classes,).
    """
    solution = [weights.clone().requires_grad_(), offsets.clone().requires_grad_()]
    optimiser = torch.optim.LBFGS(
        solution,
        max_iter=_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    @torch.enable_grad()
    def objective() -> Tensor:
        optimiser.zero_grad()
        short = F.relu(1 - sides * torch.addmm(solution[1], features, solution[0]))
        squares = solution[0].square().sum() + solution[1].square().sum()
        # Divided by C and the number of images, so that its size does not depend on them.
        loss = (short.square().sum() + squares / (2 * penalty)) / len(features)
        loss.backward()
        return loss

    # Declared as giving a float, which the optimiser itself makes of it.
    optimiser.step(objective)  # pyright: ignore[reportArgumentType]
    return solution[0].detach(), solution[1].detach()
