"""What the trunk sees, as features of images, and whether clusters of them are the classes.

The trunk is run in evaluation mode, and its activations are seen by forward hooks, so that any
trunk built of modules has features. The activation of a convolution is what the last module gives
before the next convolution and of the same shape: after batch norm and nonlinearity, before padding
and pooling. A nonlinearity that is a function, inside no module of its own, is not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from torch import Tensor, nn

from ..datasets import ImageSet
from ..datasets.images import tensor_of
from ..errors import DataError, checked_count
from ..images import checked_images, scaled
from ..infogan import BATCH, InfoGAN
from ..modes import evaluating
from ..randomness import derived, seeded
from .clustering import Clustering, cluster

__all__ = [
    "FeatureClusters",
    "activations",
    "cluster_features",
    "grid_features",
    "pixels",
    "top_features",
    "untrained_trunk",
]

NUMBERS = 500_000_000
"""Numbers that anything is fitted to, 2 GB as float32: of more, images are drawn."""

_GRID = 4
_STARTS = 10
"""Starts of k-means, each from k-means++; the one with the least distances is taken."""


@dataclass(frozen=True)
class FeatureClusters:
    """What :func:`cluster_features` measured.

    Attributes:
        trunk: agreement with the labels of clusters in the trunk's features.
        pixels: of clusters in the raw pixels.
        width: how many features an image has.
        fitted: how many training images the clusters of features were found in.
        fitted_pixels: how many those of pixels were found in.
        images: how many test images they were measured on.
    """

    trunk: Clustering
    pixels: Clustering
    width: int
    fitted: int
    fitted_pixels: int
    images: int

    def __str__(self) -> str:
        return "\n".join(
            f"{len(found.matching)} clusters of {what}: accuracy {found.accuracy:.4f}, "
            f"NMI {found.nmi:.4f}, ARI {found.ari:.4f} on {self.images} images"
            for what, found in (
                (f"{self.width} trunk features", self.trunk),
                ("raw pixels", self.pixels),
            )
        )


def activations(
    trunk: nn.Module, images: Tensor, pool: Callable[[Tensor], Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Pooled activations of every convolution, in the order of computing, and the trunk's output.

    Args:
        trunk: run in the mode it is in.
        images: what it takes, (n, C, H, W).
        pool: of each activation (n, K, h, w); only what it gives is kept.
    """
    found: list[Tensor] = []
    current: list[Tensor] = []

    def seen(module: nn.Module, _: object, output: object) -> None:
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            finish()
            current.append(output)
        elif current and isinstance(output, Tensor) and output.shape == current[0].shape:
            current[0] = output

    def finish() -> None:
        found.extend(pool(activation) for activation in current)
        current.clear()

    hooks = [module.register_forward_hook(seen) for module in trunk.modules()]
    try:
        output = trunk(images)
        finish()
    finally:
        for hook in hooks:
            hook.remove()
    return found, output


@torch.no_grad()
def _features(
    gan: InfoGAN,
    trunk: nn.Module,
    images: Tensor,
    pool: Callable[[Tensor], Tensor],
    join: Callable[[list[Tensor], Tensor], Tensor],
) -> Tensor:
    """What ``join`` makes of pooled activations and output, in float32 on the CPU."""
    parts = []
    with evaluating(trunk):
        for part in checked_images(images, gan.image_shape).split(BATCH):
            inputs = scaled(part.to(gan.device)).to(gan.dtype)
            parts.append(join(*activations(trunk, inputs, pool)).float().cpu())
    features = torch.cat(parts)
    if not features.isfinite().all():
        raise DataError(
            "features of the trunk",
            got="NaN or infinite numbers",
            expected="finite ones",
            fix="The weights are broken; go back to an older checkpoint.",
        )
    return features


def top_features(gan: InfoGAN, images: Tensor) -> Tensor:
    """The top of the trunk that still has space, averaged over space.

    It is the last convolution's activation, as Premachandran and Yuille (2016) cluster it; of a
    trunk without convolutions, its output.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W), uint8 or floats in [0, 1].

    Returns:
        (n, channels), float32, on the CPU.

    Raises:
        DataError: for images that do not fit the declaration.

    Example:
        >>> import pyro.distributions as dist
        >>> gan = InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 28, 28))
        >>> top_features(gan, gan.generate(3)).shape
        torch.Size([3, 128])
    """
    return _features(
        gan,
        gan.trunk,
        images,
        lambda activation: activation.mean((2, 3)),
        lambda found, output: found[-1] if found else output,
    )


def grid_features(gan: InfoGAN, images: Tensor, trunk: nn.Module | None = None) -> Tensor:
    """Every convolution's activation, max-pooled to a 4×4 grid; all of them side by side.

    Radford, Metz and Chintala 2016 (arXiv 1511.06434), section 5.1.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W), uint8 or floats in [0, 1].
        trunk: another one than its own, such as :func:`untrained_trunk`.

    Returns:
        (n, 16 · channels of all convolutions), float32, on the CPU.

    Raises:
        DataError: for images that do not fit the declaration, or a trunk without convolutions.

    Example:
        >>> import pyro.distributions as dist
        >>> gan = InfoGAN({"c": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 28, 28))
        >>> grid_features(gan, gan.generate(3)).shape
        torch.Size([3, 3072])
    """

    def join(found: list[Tensor], _: Tensor) -> Tensor:
        if not found:
            raise DataError(
                "trunk",
                got="no convolution",
                expected="one that has some: the features are their activations",
                fix="Build the trunk with nn.Conv2d.",
            )
        return torch.cat(found, 1)

    return _features(
        gan,
        gan.trunk if trunk is None else trunk,
        images,
        lambda activation: F.adaptive_max_pool2d(activation, _GRID).flatten(1),
        join,
    )


def untrained_trunk(gan: InfoGAN, seed: int = 0) -> nn.Module:
    """A trunk as the InfoGAN's was before training, with weights that follow from the seed."""
    with seeded(seed):
        pair = gan.networks(gan.image_shape, gan.noise + gan.prior.width)
        if pair.initialise:
            pair.initialise(pair.trunk)
    return pair.trunk.to(gan.device, gan.dtype)


def pixels(images: Tensor) -> Tensor:
    """Raw pixels as features on the CPU, (n, C · H · W), floats in [0, 1]."""
    return scaled(images.cpu()).flatten(1)


def cluster_features(
    gan: InfoGAN, train: ImageSet | Tensor, test: ImageSet, k: int, seed: int = 0
) -> FeatureClusters:
    """Whether clusters of the trunk's features are the classes (Premachandran and Yuille 2016).

    k-means on the training images, from k-means++ and the best of ten starts; a test image goes to
    the nearest centre. The same on raw pixels stands beside it, and Q's own categories are in
    :func:`clusterings`. Of more than 500 million numbers, images are drawn by the seed.

    Args:
        gan: a trained InfoGAN.
        train: images to find clusters in; labels are not used.
        test: images to measure on; those without a label are left out.
        k: how many clusters, such as there are classes.
        seed: of the starts.

    Raises:
        DataError: for images that do not fit, no labels to measure with, or ``k`` below 1 or above
            the number of training images.
    """
    checked_count("k", k, least=1)
    test = labelled(test, "test images")
    images = tensor_of(train, gan.image_shape)
    if k > len(images):
        raise DataError(
            "k",
            got=k,
            expected=f"at most {len(images)}, the number of training images",
            fix="Ask for fewer clusters, or bring more images.",
        )
    seen = top_features(gan, test.images)
    found = []
    for features, there in (
        (lambda part: top_features(gan, part), seen),
        (pixels, pixels(test.images)),
    ):
        room = max(k, NUMBERS // there.shape[1])
        if len(images) > room:
            with seeded(seed):
                chosen = images[torch.randperm(len(images))[:room].sort().values]
        else:
            chosen = images
        means = KMeans(
            k,
            init="k-means++",
            n_init=_STARTS,  # pyright: ignore[reportArgumentType] (scikit-learn takes numbers too)
            random_state=derived(seed),
            # Floats came here without a copy, and k-means centres them in place.
            copy_x=images.is_floating_point(),
        )
        means.fit(features(chosen).numpy())
        nearest = torch.from_numpy(means.predict(there.numpy())).long()
        found.append((cluster(nearest, test.labels, k), len(chosen)))
    (trunk, fitted), (raw, fitted_pixels) = found
    return FeatureClusters(trunk, raw, seen.shape[1], fitted, fitted_pixels, len(test))


def labelled(dataset: ImageSet, what: str) -> ImageSet:
    """The images that have a label.

    Raises:
        DataError: for none.
    """
    known = dataset.labelled if isinstance(dataset, ImageSet) else ()
    if not len(known):
        raise DataError(
            what,
            got="no labels",
            expected="an ImageSet with labels",
            fix="Give ImageSet(images, labels).",
        )
    return dataset if len(known) == len(dataset) else dataset.subset(dataset.labelled)
