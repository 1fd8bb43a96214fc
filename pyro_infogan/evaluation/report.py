"""evaluate(): everything measured on a trained InfoGAN, in one report."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..codes import Key, label
from ..datasets import ImageSet
from ..inference import Information
from ..infogan import InfoGAN
from ..randomness import seeded
from .calibration import Calibration, calibrate
from .clustering import Clustering, cluster
from .factors import Following, followed
from .features import FeatureClusters
from .inferred import Categories, Inferred, inferred
from .probes import Probes
from .sweeps import FactorReader, Sweeps, sweep

__all__ = ["Report", "against_truth", "clustered", "clusterings", "evaluate"]


@dataclass(frozen=True)
class Report:
    """What :func:`evaluate` measured.

    Attributes:
        information: L_I of each code in nats, with its error and H(c).
        calibration: whether Q is as often right as it says, of each number of each code.
        clustering: agreement with the labels, of each code that takes categories.
        following: how well the codes follow each known factor.
        sweeps: what sweeping each code moves, where a reader of the factors was given.
        images: how many held-out images Q read; the clustering is of those with a label.
        draws: how many generated images the bound was measured on, and the calibration on as many.
        clusters: of the trunk's features, where ``cluster_features`` was asked.
        probes: of the trunk's features, where ``probe`` was asked.
    """

    information: dict[Key, Information]
    calibration: dict[str, Calibration]
    clustering: dict[str, Clustering]
    following: dict[str, Following]
    sweeps: Sweeps | None
    images: int
    draws: int
    clusters: FeatureClusters | None = None
    probes: Probes | None = None

    def data(self) -> dict[str, Any]:
        """As plain data, for ``report.json``."""
        data = dataclasses.asdict(self)
        information = {label(key): value for key, value in data["information"].items()}
        return data | {"information": information}

    def __str__(self) -> str:
        lines = [f"L_I({label(key)}) = {info}" for key, info in self.information.items()]
        lines += [f"calibration of {name}: {found}" for name, found in self.calibration.items()]
        lines += [
            f"{name}: accuracy {found.accuracy:.4f}, NMI {found.nmi:.4f}, ARI {found.ari:.4f} "
            f"on {found.images} images"
            for name, found in self.clustering.items()
        ]
        lines += [
            f"{name} is followed best by {found} on {self.images} images"
            if found.value
            else f"{name} is followed by no code on {self.images} images"
            for name, found in self.following.items()
        ]
        lines += [str(found) for found in (self.sweeps, self.clusters, self.probes) if found]
        return "\n".join(lines)


def evaluate(
    gan: InfoGAN,
    dataset: ImageSet | Tensor | None = None,
    draws: int = 10_000,
    seed: int = 0,
    reader: FactorReader | None = None,
) -> Report:
    """Measure bound and calibration on generated images, and the codes on held-out ones.

    Args:
        gan: a trained InfoGAN.
        dataset: held-out images: with labels for the clustering, with factors for what follows
            them; without, there is none.
        draws: generated images for the bound, and for the calibration.
        seed: of those draws; the caller's random state is left as it was.
        reader: of the factors, from ``fit_reader``, to say what sweeping each code moves.

    Raises:
        DataError: for images that do not fit the declaration.
    """
    with seeded(seed):
        information = gan.information(draws)
    calibration = calibrate(gan, draws, seed=seed)
    clustering, following = against_truth(gan, dataset, seed)
    images = len(dataset) if dataset is not None and (clustering or following) else 0
    sweeps = sweep(gan, reader, seed=seed) if reader else None
    return Report(information, calibration, clustering, following, sweeps, images, draws)


def against_truth(
    gan: InfoGAN, dataset: ImageSet | Tensor | None, seed: int = 0
) -> tuple[dict[str, Clustering], dict[str, Following]]:
    """Agreement with the labels, and what follows the factors, by one reading of the images.

    Either is empty where nothing is known of it.

    Args:
        gan: a trained InfoGAN.
        dataset: held-out images.
        seed: of the draws that tell posteriors without a mean.
    """
    if not isinstance(dataset, ImageSet) or not (len(dataset.labelled) or dataset.factors):
        return {}, {}
    read = inferred(gan, dataset.images, seed=seed, progress=False)
    return clustered(read, dataset), followed(read, dataset.factors)


def clusterings(gan: InfoGAN, dataset: ImageSet | Tensor | None) -> dict[str, Clustering]:
    """Agreement with the labels of each code that takes categories; none without labels.

    The elements of a vector code are named as in ``kind[0]``.
    """
    if not isinstance(dataset, ImageSet) or not len(dataset.labelled):
        return {}
    return clustered(inferred(gan, dataset.images, progress=False), dataset)


def clustered(read: Mapping[str, Inferred], dataset: ImageSet) -> dict[str, Clustering]:
    """The same of what Q has read of the images, those without a label left out.

    Args:
        read: from ``inferred``.
        dataset: the same images, with labels.
    """
    chosen = dataset.labelled
    if not len(chosen):
        return {}
    return {
        title: cluster(one.chosen[chosen], dataset.labels[chosen], len(one.prior))
        for title, one in read.items()
        if isinstance(one, Categories)
    }
