"""What sweeping a code does to each known factor, read by a network trained on the factors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codes import element_of, placed
from ..datasets import Factor, ImageSet
from ..devices import usable_device
from ..errors import DataError, checked_count
from ..images import scaled
from ..infogan import BATCH, InfoGAN
from ..randomness import seeded
from .factors import agreement

__all__ = ["FactorReader", "Sweeps", "fit_reader", "sweep"]

_TRAINED = 64
"""Images in each update of the reader."""


@dataclass(frozen=True)
class _Output:
    """How one factor is asked of the network: its columns, its loss, and the way back."""

    factor: Factor
    start: int
    width: int
    centre: float
    scale: float

    def loss(self, outputs: Tensor, truth: Tensor) -> Tensor:
        mine = outputs[:, self.start : self.start + self.width]
        if self.factor.is_kind:
            return F.cross_entropy(mine, truth)
        if self.factor.period:
            angle = truth / self.factor.period * 2 * math.pi
            return F.mse_loss(mine, torch.stack([angle.cos(), angle.sin()], -1))
        return F.mse_loss(mine.squeeze(-1), (truth - self.centre) / self.scale)

    def values(self, outputs: Tensor) -> Tensor:
        mine = outputs[:, self.start : self.start + self.width]
        if self.factor.is_kind:
            return mine.argmax(-1)
        if self.factor.period:
            angle = torch.atan2(mine[:, 1], mine[:, 0]) / (2 * math.pi)
            return angle.remainder(1.0) * self.factor.period
        return mine.squeeze(-1) * self.scale + self.centre


class FactorReader(nn.Module):
    """A small convolutional network that reads factors from images.

    Attributes:
        outputs: what it reads, by name.
        agreement: by factor, how well it reads held-out images, as :func:`agreement` says.
    """

    def __init__(self, channels: int, factors: Mapping[str, Factor]) -> None:
        super().__init__()
        self.outputs: dict[str, _Output] = {}
        start = 0
        for name, factor in factors.items():
            values = factor.values
            kinds = int(values.max()) + 1 if factor.is_kind else 1
            width = kinds if factor.is_kind else 2 if factor.period else 1
            numbers = values.double()
            scale = numbers.std().item() or 1.0
            self.outputs[name] = _Output(factor, start, width, numbers.mean().item(), scale)
            start += width
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64), (64, 128)):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(
            *layers, nn.Flatten(), nn.LazyLinear(256), nn.ReLU(), nn.Linear(256, start)
        )
        self.agreement: dict[str, tuple[str, float]] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Raw outputs (n, k) of images (n, C, H, W) in [0, 1]."""
        return self.layers(images)

    @torch.no_grad()
    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Each factor of images (n, C, H, W), uint8 or floats in [0, 1], as (n,)."""
        device = next(self.parameters()).device
        parts = [self(scaled(part.to(device))) for part in images.split(BATCH)]
        outputs = torch.cat(parts).cpu()
        return {name: output.values(outputs) for name, output in self.outputs.items()}


@dataclass(frozen=True)
class Sweeps:
    """What :func:`sweep` measured.

    Attributes:
        reader: by factor, how well the reader reads held-out images, as :func:`agreement` says;
            what it reads badly it cannot testify to.
        moved: by code and factor, how far the factor goes when the code is swept, as a share.
    """

    reader: dict[str, tuple[str, float]]
    moved: dict[str, dict[str, float]]

    def __str__(self) -> str:
        lines = [
            f"sweeping {code} moves "
            + ", ".join(f"{factor} {share:.2f}" for factor, share in moved.items())
            for code, moved in self.moved.items()
        ]
        read = ", ".join(f"{name} {value:.2f}" for name, (_, value) in self.reader.items())
        return "\n".join([*lines, f"(the reader of factors is right by {read})"])


def fit_reader(
    train: ImageSet,
    test: ImageSet,
    steps: int = 1_000,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> FactorReader:
    """Train a reader on images with factors, and measure it on others.

    Args:
        train: images with factors.
        test: others, with the same factors.
        steps: updates of 64 images each.
        seed: of weights and order; the caller's random state is left as it was.
        device: where to train.

    Raises:
        DataError: for images without factors, fewer than 64, or others with other factors.
        RunError: for a device that is not there.
    """
    checked_count("steps", steps, least=1)
    device = usable_device(device)
    if not train.factors or len(train) < _TRAINED:
        raise DataError(
            "images",
            got=f"{len(train)} with factors {list(train.factors)}",
            expected=f"at least {_TRAINED}, with factors",
            fix="Give a rendered set, or one whose factors are known.",
        )
    if missing := sorted(train.factors.keys() ^ test.factors.keys()):
        raise DataError(
            "images to measure a reader on",
            got=f"factors {list(test.factors)}, so that {', '.join(missing)} stand in one set only",
            expected=f"the factors {list(train.factors)}",
            fix="Give two sets with the same factors.",
        )
    with seeded(seed):
        reader = FactorReader(train.images.shape[1], train.factors)
        # Weights of the lazy layer are drawn at its first pass: from the seed on the CPU.
        reader(scaled(train.images[:2].cpu()))
        reader.to(device)
        optimiser = torch.optim.Adam(reader.parameters(), lr=1e-3)
        for _ in range(steps):
            chosen = torch.randint(len(train), (_TRAINED,))
            outputs = reader(scaled(train.images[chosen].to(device)))
            losses = [
                output.loss(outputs, output.factor.values[chosen].to(device))
                for output in reader.outputs.values()
            ]
            optimiser.zero_grad()
            torch.stack(losses).sum().backward()
            optimiser.step()
    reader.eval()
    found = reader.read(test.images)
    reader.agreement = {
        name: agreement(factor, Factor(found[name])) for name, factor in test.factors.items()
    }
    return reader


def sweep(
    gan: InfoGAN, reader: FactorReader, rows: int = 100, columns: int = 9, seed: int = 0
) -> Sweeps:
    """How far each factor goes when one code is swept and noise and other codes are held.

    A continuous code goes over its prior's range (−1 to 1 of the paper's; 0 to 1 of a share, to
    which the other shares give way), a discrete one through all it can be. Each row of images has
    its own noise and other codes; the numbers are means over rows.

    Args:
        gan: a trained InfoGAN.
        reader: of the factors of images like its own.
        rows: how many draws of noise and other codes.
        columns: how many values of a continuous code.
        seed: of those draws.

    Returns:
        Shares: of a number, the distance from the least to the greatest as a share of
        that between the 5 % and 95 % quantiles of the true ones, or where these are the same of
        their whole range; round a circle, what the largest gap between the values leaves of it,
        which for k values once around is 1 − 1/k; of kinds, the share of rows in which more than
        one is seen. Vectors of one-hot codes and counts without end are not swept.
    """
    checked_count("rows", rows, least=1)
    checked_count("columns", columns, least=2)
    moved: dict[str, dict[str, float]] = {}
    with seeded(seed):
        noise, codes = gan.draw(rows)
        for label, name, place, values in _sweeps(gan, columns):
            count = len(values)
            held = {other: value.repeat_interleave(count, 0) for other, value in codes.items()}
            swept = values.repeat(rows, *[1] * (values.dim() - 1))
            if place is not None:
                swept = placed(gan.prior.sites[name], held[name], place, swept)
            images = gan.generate(
                rows * count, {**held, name: swept}, noise.repeat_interleave(count, 0)
            )
            read = reader.read(images)
            moved[label] = {
                factor: _moved(reader.outputs[factor].factor, value.view(rows, count))
                for factor, value in read.items()
            }
    return Sweeps(reader.agreement, moved)


def _sweeps(gan: InfoGAN, columns: int) -> list[tuple[str, str, int | None, Tensor]]:
    """Label, code, element and values (k,) of every number of every code that can be swept.

    A one-hot code is swept as a whole, through values (k, event shape), and has no element.
    """
    listed = []
    for name, prior in gan.prior.sites.items():
        element = element_of(prior)
        shape = prior.event_shape
        if gan.prior.is_discrete(name):
            # Counts without end have no numbers to go through, and vectors of one-hots too many.
            if not element.has_enumerate_support or element.event_shape not in ((), shape):
                continue
            if element.event_shape:
                listed.append((name, name, None, prior.enumerate_support().to(gan.device)))
                continue
            support = element.enumerate_support(expand=False).flatten()
            every = [support] * math.prod(shape)
        else:
            ends = [end.reshape(-1).tolist() for end in gan.prior.usual(name)]
            every = [torch.linspace(low, high, columns) for low, high in zip(*ends, strict=True)]
        for place, values in enumerate(every):
            label = f"{name}[{place}]" if shape else name
            listed.append((label, name, place, values.to(gan.device)))
    return listed


def _moved(factor: Factor, read: Tensor) -> float:
    """What one factor (rows, columns) does along the columns, as :func:`sweep` says."""
    if factor.is_kind:
        return (read != read[:, :1]).any(1).double().mean().item()
    if factor.period:
        turned = (read / factor.period).remainder(1.0).sort(1).values
        gaps = torch.cat([turned[:, 1:] - turned[:, :-1], turned[:, :1] + 1 - turned[:, -1:]], 1)
        return (1 - gaps.max(1).values).mean().item()
    low, high = torch.quantile(factor.values.double(), torch.tensor([0.05, 0.95]).double())
    reach = read.max(1).values - read.min(1).values
    if high == low:
        low, high = factor.values.double().aminmax()
    # A factor that does not vary has no range to go through.
    return (reach.double().mean() / (high - low)).item() if high > low else 0.0
