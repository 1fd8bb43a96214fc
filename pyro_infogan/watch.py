"""Signs that training goes wrong while its numbers are still finite, each told once.

What is watched is what the metrics say anyway. Only unused categories take a look of their own: at
Q of some real images, every 1,000 steps.
"""

import warnings
from collections.abc import Mapping, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from .codes import label
from .errors import TrainingWarning
from .infogan import InfoGAN
from .randomness import seeded

__all__ = ["LOOK_EVERY", "Watch"]

LOOK_EVERY = 1_000
"""Steps between two looks at the categories."""
_IMAGES = 512

HIGH, LOW = 0.5, 0.1
"""Shares of H(c): L_I that was above the first and falls under the second has collapsed."""
SURE = 0.99
"""Mean probability from which the discriminator counts as certain."""
LINES = 50
"""Lines of metrics, one after the other, that make a sign: 500 steps."""
UNUSED = 0.05
"""Share of its prior probability under which a category counts as unused."""
LOOKS = 2
"""Looks, one after the other, that find a category unused."""


class Watch:
    """Looks at the lines of metrics of one run.

    L_I is held against H(c), and so it is watched only where that is positive: a differential
    entropy of 0 or less has no shares.

    Args:
        gan: what is trained.
        images: real ones, (n, C, H, W), of which it looks at the first few.
    """

    def __init__(self, gan: InfoGAN, images: Tensor) -> None:
        self.gan = gan
        self.images = images[:_IMAGES]
        self.entropies = {
            f"info/{label(key)}": nats for key, nats in gan.entropies.items() if nats > 0
        }
        self.informed: set[str] = set()
        self.streaks: dict[str, int] = {}
        self.told: set[str] = set()

    def see(self, line: Mapping[str, float]) -> None:
        """Take in a line of metrics, and warn of what has lasted too long."""
        for name, nats in self.entropies.items():
            value = line.get(name, nats)
            if value >= HIGH * nats:
                self.informed.add(name)
            self._count(
                name,
                name in self.informed and value < LOW * nats,
                LINES,
                f"{name} fell under {LOW:.0%} of the code's {nats:.2f} nats after having been "
                "above half of them: the generator forgets the code. A larger information weight "
                "or a lower learning rate of the generator usually helps.",
            )
        real, fake = line["d_real"], line["d_fake"]
        self._count(
            "certain",
            real > SURE and fake < 1 - SURE,
            LINES,
            f"the discriminator tells every image apart ({real:.3f} for real, {fake:.3f} for "
            "generated ones): the generator learns little from it. A lower learning rate of the "
            "discriminator, or a higher one of the generator, usually helps.",
        )
        self._count(
            "constant",
            min(real, fake) > SURE or max(real, fake) < 1 - SURE,
            LINES,
            f"the discriminator calls real and generated images alike ({real:.3f} and {fake:.3f}) "
            "and is certain of it: it has stopped learning. Lower learning rates usually help.",
        )

    def look(self) -> None:
        """Ask Q of the real images which categories it finds, and warn of those it never does."""
        with seeded(0):
            posteriors = self.gan.infer(self.images)
        sites = self.gan.prior.present()
        for key, posterior in posteriors.items():
            prior = sites.get(key) if isinstance(key, str) else None
            if isinstance(prior, _CATEGORIES) and isinstance(posterior, _CATEGORIES):
                found = posterior.probs.float().flatten(0, -2).mean(0).cpu()
                expected = prior.probs.cpu()
                unused = torch.nonzero(found < UNUSED * expected).flatten().tolist()
                self._count(f"categories/{key}", bool(unused), LOOKS, _unused(str(key), unused))

    def _count(self, sign: str, there: bool, enough: int, text: str) -> None:
        self.streaks[sign] = self.streaks.get(sign, 0) + 1 if there else 0
        if self.streaks[sign] >= enough and sign not in self.told:
            self.told.add(sign)
            warnings.warn(text, TrainingWarning, stacklevel=4)


_CATEGORIES = (dist.Categorical, dist.OneHotCategorical)


def _unused(name: str, categories: Sequence[int]) -> str:
    return (
        f"Q finds categories {', '.join(map(str, categories))} of {name!r} in hardly any real "
        "image: they are unused. Fewer categories, a larger information weight, or for a prior "
        "that learns PriorTerms(entropy=...) usually helps."
    )
