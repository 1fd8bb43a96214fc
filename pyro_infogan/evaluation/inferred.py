"""What Q reads of each image: of a number its mean and deviation, of a category probabilities."""

import math
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution
from tqdm import tqdm

from ..codes import Key, element_of, is_angle, names_of
from ..datasets import Factor
from ..images import checked_images
from ..infogan import BATCH, InfoGAN
from ..randomness import seeded

__all__ = ["Categories", "Inferred", "Numbers", "inferred"]

_DRAWS = 200
"""Draws of a posterior that has no mean of its own."""
_PRIOR_DRAWS = 100_000


@dataclass(frozen=True)
class Numbers:
    """One number of a code, as Q reads it.

    Attributes:
        code: the code it belongs to.
        element: which number of a vector code; 0 of any other.
        mean: Q's mean for each image, (n,); of an angle, its direction.
        stddev: Q's standard deviation, (n,); of an angle the circular one, √(−2 ln R).
        prior: draws of the prior, to hold the means against.
        period: of the circle that it turns round; None on a line.
    """

    code: str
    element: int
    mean: Tensor
    stddev: Tensor
    prior: Tensor
    period: float | None = None

    @property
    def factor(self) -> Factor:
        """The means, for measures of agreement."""
        return Factor(self.mean, self.period)


@dataclass(frozen=True)
class Categories:
    """One category of a code, as Q reads it.

    Attributes:
        code: the code it belongs to.
        element: which of a vector code; 0 of any other.
        probabilities: of each category for each image, (n, K).
        prior: probability of each category, (K,).
    """

    code: str
    element: int
    probabilities: Tensor
    prior: Tensor

    @property
    def chosen(self) -> Tensor:
        """The most probable category of each image, (n,)."""
        return self.probabilities.argmax(1)

    @property
    def counts(self) -> Tensor:
        """How many images each category got, (K,)."""
        return self.chosen.bincount(minlength=len(self.prior))

    @property
    def use(self) -> float:
        """Entropy in nats of how often each category is the most probable one."""
        shares = self.counts.double() / self.counts.sum()
        return torch.special.entr(shares).sum().item()

    @property
    def factor(self) -> Factor:
        """The most probable categories, for measures of agreement."""
        return Factor(self.chosen)


Inferred = Numbers | Categories
"""What Q reads of one number of a code, or of one category."""


@torch.no_grad()
def inferred(
    gan: InfoGAN, images: Tensor, *, seed: int = 0, progress: bool = True
) -> dict[str, Inferred]:
    """Q's reading of every code, by label; vectors number by number, as in ``style[1]``.

    The images go through the networks a batch at a time, and only what is read of them is kept.
    Guides, and families without a mean, are told by 200 draws for each image.

    Args:
        gan: a trained InfoGAN.
        images: (n, C, H, W).
        seed: of those draws; the caller's random state is left as it was.
        progress: whether to show a bar.

    Raises:
        DataError: for images that do not fit the declaration.
    """
    images = checked_images(images, gan.image_shape)
    parts: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in gan.prior.sites}
    turning: set[str] = set()
    batches = images.split(BATCH)
    bar = tqdm(batches, "inferring codes", disable=not progress, dynamic_ncols=True, unit="batch")
    with seeded(seed):
        for batch in bar:
            for key, posterior in gan.infer(batch).items():
                turning |= {name for name in names_of(key) if _turns(gan, name, posterior)}
                for name, read in _read(gan, key, posterior).items():
                    parts[name].append(tuple(value.cpu() for value in read))
        drawn = gan.prior.draw(_PRIOR_DRAWS)
    found: dict[str, Inferred] = {}
    for name, prior in gan.prior.sites.items():
        element = element_of(prior)
        whole = [torch.cat(values) for values in zip(*parts[name], strict=True)]
        count = whole[0].shape[1]
        # A one-hot code is one category, though it is written as several numbers.
        whole_shape = element.event_shape if _takes_kinds(gan, name) else ()
        several = len(prior.event_shape) > len(whole_shape)
        for index in range(count):
            title = f"{name}[{index}]" if several else name
            columns = [values[:, index] for values in whole]
            if _takes_kinds(gan, name):
                # By draws, since a prior may have learned since it was declared.
                shares = _terms(gan, name, drawn[name]).mean(1).reshape(-1, count)[:, index]
                found[title] = Categories(name, index, columns[0], shares.cpu())
            else:
                draws = drawn[name].reshape(_PRIOR_DRAWS, -1)[:, index].float().cpu()
                period = 2 * math.pi if name in turning else None
                found[title] = Numbers(name, index, columns[0], columns[1], draws, period)
    return found


def _takes_kinds(gan: InfoGAN, name: str) -> bool:
    """Whether a code takes categories, or is a vector of such."""
    return gan.prior.is_discrete(name) and element_of(gan.prior.sites[name]).has_enumerate_support


def _turns(gan: InfoGAN, name: str, posterior: Distribution) -> bool:
    """Whether a code goes round a circle, or Q reads it as if it did."""
    return is_angle(gan.prior.sites[name]) or isinstance(element_of(posterior), dist.VonMises)


def _read(gan: InfoGAN, key: Key, posterior: Distribution) -> dict[str, tuple[Tensor, ...]]:
    """What a posterior says of each of its codes, the numbers of a vector in the second axis.

    Of a category its probabilities (n, m, K), of a number its mean and deviation, (n, m) both.
    """
    element = element_of(posterior)
    if isinstance(key, str) and _takes_kinds(gan, key) and element.has_enumerate_support:
        chances = element.log_prob(element.enumerate_support(expand=False)).exp().movedim(0, -1)
        return {key: (chances.float().reshape(len(chances), -1, chances.shape[-1]),)}
    return _moments(gan, key, posterior) or _drawn(gan, key, posterior)


def _moments(gan: InfoGAN, key: Key, posterior: Distribution) -> dict[str, tuple[Tensor, ...]]:
    """Mean and deviation as the distribution itself knows them; nothing of one that does not."""
    try:
        mean, variance = posterior.mean, posterior.variance
    except NotImplementedError:
        return {}
    turned = isinstance(element_of(posterior), dist.VonMises)
    angles = any(is_angle(gan.prior.sites[name]) for name in names_of(key))
    kinds = any(_takes_kinds(gan, name) for name in names_of(key))
    if kinds or (angles and not turned) or not mean.isfinite().all():
        return {}
    # Torch calls 1 − R the variance of an angle.
    stddev = (-2 * torch.log1p(-variance)).clamp(min=0).sqrt() if turned else variance.sqrt()
    if isinstance(key, str):
        return {key: (_flat(mean), _flat(stddev))}
    means, deviations = gan.prior.split(mean, key), gan.prior.split(stddev, key)
    return {name: (_flat(means[name]), _flat(deviations[name])) for name in key}


def _drawn(gan: InfoGAN, key: Key, posterior: Distribution) -> dict[str, tuple[Tensor, ...]]:
    """What draws say, one at a time to bound memory."""
    sums: dict[str, Tensor] = {}
    for _ in range(_DRAWS):
        draw = posterior.sample()
        codes = {key: draw} if isinstance(key, str) else gan.prior.split(draw, key)
        for name, value in codes.items():
            terms = _terms(gan, name, value)
            sums[name] = sums[name] + terms if name in sums else terms
    return {name: _summed(gan, name, total / _DRAWS) for name, total in sums.items()}


def _terms(gan: InfoGAN, name: str, value: Tensor) -> Tensor:
    """What is averaged over the draws: category by category, or two moments, in the first axis."""
    if _takes_kinds(gan, name):
        element = element_of(gan.prior.sites[name])
        hit = element.enumerate_support(expand=False).unsqueeze(1) == value
        return (hit.all(-1) if element.event_shape else hit).float()
    value = value.double()
    return torch.stack(
        [value.cos(), value.sin()] if is_angle(gan.prior.sites[name]) else [value, value**2]
    )


def _summed(gan: InfoGAN, name: str, average: Tensor) -> tuple[Tensor, ...]:
    if _takes_kinds(gan, name):
        return (average.movedim(0, -1).reshape(average.shape[1], -1, len(average)),)
    first, second = average
    if is_angle(gan.prior.sites[name]):
        length = (first**2 + second**2).sqrt()
        return _flat(torch.atan2(second, first)), _flat((-2 * length.log()).clamp(min=0).sqrt())
    return _flat(first), _flat((second - first**2).clamp(min=0).sqrt())


def _flat(values: Tensor) -> Tensor:
    """Numbers (n, event shape) as (n, m)."""
    return values.float().reshape(len(values), -1)
