"""discover(): what is measured of the codes, on generated images and on a given set."""

import math
from dataclasses import dataclass
from itertools import combinations

import pyro.distributions as dist
import torch
from torch import Tensor

from ..codes import Entropy, Key, element_of, label, log_prob, names_of
from ..datasets import Factor, ImageSet
from ..evaluation import (
    Clustering,
    Inferred,
    agreement,
    best_reading,
    clustered,
    inferred,
    likeness,
)
from ..inference import Information
from ..infogan import BATCH, InfoGAN
from ..modes import evaluating
from ..randomness import seeded

__all__ = ["ALIKE", "Agreement", "Discovery", "discover"]

ALIKE = {"Spearman": 0.7, "circular": 0.5, "AMI": 0.5}
"""From where on two codes say the same: what one says, the other says for the greater half. A
correlation of 0.7 is half of the variance; the circular one is squared already."""

Agreement = tuple[str, float]
"""A measure and its value in [0, 1], as :func:`~pyro_infogan.evaluation.agreement` gives them, or
:func:`~pyro_infogan.evaluation.likeness`."""


@dataclass(frozen=True)
class Discovery:
    """What :func:`discover` found.

    Attributes:
        images: the set it was found in.
        inferred: Q's reading of each number or category of each code, by label.
        information: L_I of each code in nats, on generated images.
        numbers: L_I of each number of the vector codes, where prior and Q take them one by one.
        shared: how much each pair of readings agrees.
        known: how much each reading agrees with each known factor, and with the labels.
        best: the reading that has the most of each of these.
        images_of: of how many images each of these is known.
        clustering: of the codes that take categories against the labels, where there are any.
        draws: how many images were generated for L_I.
    """

    images: ImageSet
    inferred: dict[str, Inferred]
    information: dict[Key, Information]
    numbers: dict[str, Information]
    shared: dict[tuple[str, str], Agreement]
    known: dict[str, dict[str, Agreement]]
    best: dict[str, str]
    images_of: dict[str, int]
    clustering: dict[str, Clustering]
    draws: int

    @property
    def names(self) -> list[str]:
        """Name of each image: its path, or else its place in the set."""
        return list(self.images.names or map(str, range(len(self.images))))

    @property
    def duplicates(self) -> dict[tuple[str, str], Agreement]:
        """The pairs of readings of which one says what the other does, most alike first."""
        alike = [(pair, got) for pair, got in self.shared.items() if got[1] >= ALIKE[got[0]]]
        return dict(sorted(alike, key=lambda item: -item[1][1]))

    @property
    def silent(self) -> dict[str, Information]:
        """The codes, and the numbers of vector codes, that carry nothing."""
        measured = {label(key): info for key, info in self.information.items()} | self.numbers
        return {name: info for name, info in measured.items() if info.silent}

    def is_silent(self, title: str) -> bool:
        """Whether a reading is of what carries nothing: its number, or else its whole code."""
        silent, code = self.silent, self.inferred[title].code
        keys = {label(key) for key in self.information if code in names_of(key)}
        return title in silent if title in self.numbers else bool(keys & silent.keys())


def discover(
    gan: InfoGAN,
    images: ImageSet | Tensor,
    draws: int = 10_000,
    seed: int = 0,
    progress: bool = True,
) -> Discovery:
    """Have Q read a set of images, and measure what each code found there.

    Args:
        gan: a trained InfoGAN.
        images: the set, with names, labels and factors where they are known; or (n, C, H, W).
        draws: generated images for L_I.
        seed: of those and of posteriors that are told by draws; the caller's random state is left
            as it was.
        progress: whether to show a bar.

    Raises:
        DataError: for images that do not fit the declaration, or fewer than two draws.

    Example:
        >>> import pyro.distributions as dist
        >>> gan = InfoGAN({"slant": dist.Uniform(-1.0, 1.0)}, image_shape=(1, 8, 8))
        >>> found = discover(gan, torch.rand(20, 1, 8, 8), draws=100, progress=False)
        >>> found.inferred["slant"].mean.shape, list(found.silent)
        (torch.Size([20]), ['slant'])
    """
    if not isinstance(images, ImageSet):
        images = ImageSet(images)
    found = inferred(gan, images.images, seed=seed, progress=progress)
    with seeded(seed):
        information = gan.information(draws)
        numbers = _numbers(gan, draws)
    shared = {
        (one, other): likeness(found[one].factor, found[other].factor)
        for one, other in combinations(found, 2)
    }
    readings = {title: one.factor for title, one in found.items()}
    truths = {name: (factor, readings) for name, factor in images.factors.items()}
    chosen = images.labelled
    if len(chosen):
        some = {title: Factor(one.values[chosen], one.period) for title, one in readings.items()}
        truths["label"] = Factor(images.labels[chosen]), some
    known = {
        name: {title: agreement(factor, one) for title, one in read.items()}
        for name, (factor, read) in truths.items()
    }
    return Discovery(
        images=images,
        inferred=found,
        information=information,
        numbers=numbers,
        shared=shared,
        known=known,
        best={name: best_reading(*truth, known[name]) for name, truth in truths.items()},
        images_of={name: len(factor.values) for name, (factor, _) in truths.items()},
        clustering=clustered(found, images),
        draws=draws,
    )


@torch.no_grad()
def _numbers(gan: InfoGAN, n: int) -> dict[str, Information]:
    """L_I of each number of those vector codes that prior and posterior take number by number.

    Those of a program are left out: its numbers may depend on other codes.
    """
    vectors = {
        name: element_of(prior)
        for name, prior in gan.prior.sites.items()
        if isinstance(prior, dist.Independent) and not gan.prior.written
    }
    before: dict[str, list[Tensor]] = {name: [] for name in vectors}
    after: dict[str, list[Tensor]] = {name: [] for name in vectors}
    with evaluating(gan):
        for start in range(0, n if vectors else 0, BATCH):
            noise, codes = gan.draw(min(BATCH, n - start))
            posteriors = gan.posteriors(gan.decode(noise, codes))
            for name, prior in vectors.items():
                # One without a posterior of its own has no entry; one that is not wrapped as its
                # prior is has no score for each number.
                q, value = posteriors.get(name), codes[name]
                if isinstance(q, dist.Independent):
                    before[name].append(log_prob(prior, value).flatten(1))
                    after[name].append(log_prob(element_of(q), value).flatten(1))
    found = {}
    for name in filter(after.get, vectors):
        log_p, log_q = torch.cat(before[name]).double(), torch.cat(after[name]).double()
        errors = log_p.std(0) / math.sqrt(n)
        for index in range(log_p.shape[1]):
            entropy = Entropy(-log_p[:, index].mean().item(), errors[index].item())
            score = log_q[:, index] - log_p[:, index]
            found[f"{name}[{index}]"] = Information.of(score, entropy)
    return found
