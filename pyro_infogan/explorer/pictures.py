"""What the page shows: images for positions of the controls, and what Q reads of a real image."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..controls import Control, Dial, Panel, Position, Slider
from ..evaluation import Categories, Numbers, inferred
from ..images import scaled, sheet
from ..infogan import InfoGAN
from ..inversion import refine
from ..pages import chart
from ..randomness import seeded

__all__ = ["ROWS", "Fit", "Reading", "draw_codes", "draw_noise", "fitted", "grid", "read", "single"]

ROWS = 6
"""Rows of noise in a grid."""
_ACROSS, _DOWN = 9, 7
_DRAWS = 10_000
_BINS = 60
_LABELS = 20
# Less of Q than this outside a control's range is not worth a word.
_TOLD = 0.01
# Standard deviation of a pixel about the generated one, and updates of a fit: a few seconds.
_SCALE, _STEPS = 0.1, 100


def draw_noise(gan: InfoGAN, seed: int) -> Tensor:
    """Noise (ROWS, noise): the first row is the single image's."""
    with seeded(seed):
        return gan.noise_prior().sample((ROWS,))


def draw_codes(gan: InfoGAN, panel: Panel, seed: int) -> list[Position]:
    """Positions at one draw of the prior, in which codes may depend on each other."""
    with seeded(seed), torch.no_grad():
        return panel.positions({name: value[0] for name, value in gan.prior.draw(1).items()})


@torch.no_grad()
def _generated(
    gan: InfoGAN, panel: Panel, noise: Tensor, rows: Sequence[Sequence[Position]]
) -> Tensor:
    """Images of rows of positions, each with its noise, or all with one.

    Every code is held, as by ``poutine.do``, so that nothing is drawn: a fit in another thread,
    which draws, is not disturbed.
    """
    return gan.decode(noise, gan.prior.hold(panel.codes(rows), len(rows)))


def single(gan: InfoGAN, panel: Panel, noise: Tensor, positions: Sequence[Position]) -> str:
    """The image at some positions, as HTML."""
    image = _generated(gan, panel, noise[:1], [positions])
    return f'<img class="pixels one" src="{_uri(image[0])}" alt="generated image">'


def grid(
    gan: InfoGAN,
    panel: Panel,
    noise: Tensor,
    positions: Sequence[Position],
    across: int,
    down: int | None,
) -> str:
    """Images over the range of one control from left to right, and of another downwards, as HTML.

    Args:
        gan: a trained InfoGAN.
        panel: its controls.
        noise: (ROWS, noise).
        positions: of the controls, held where they are not swept.
        across: index of the control that is swept from left to right.
        down: that of the control swept downwards, with one noise for all; None for rows of
            different noise.
    """
    swept = panel.controls[across]
    columns = swept.sweep(_ACROSS)
    top = [panel.moved(positions, across, to) for to in columns]
    if down is None:
        rows = top * len(noise)
        noise = noise.repeat_interleave(len(top), 0)
        said = [""] * ROWS
    else:
        steps = panel.controls[down].sweep(_DOWN)
        rows = [panel.moved(row, down, to) for to in steps for row in top]
        noise = noise[:1]
        said = [panel.controls[down].said(to) for to in steps]
    images = _generated(gan, panel, noise, rows)
    source = _encoded(sheet(images, len(top)))
    title = "noise" if down is None else html.escape(panel.controls[down].title)
    return (
        f'<div class="grid"><b class="down">{title}</b><div class="down">{_ticks(said)}</div>'
        f'<img class="pixels" src="{source}" alt="grid of generated images">'
        f'<div class="across">{_ticks([swept.said(to) for to in columns])}</div>'
        f"<b>{html.escape(swept.title)}</b></div>"
    )


def _ticks(said: Sequence[str]) -> str:
    return "".join(f"<span>{html.escape(text)}</span>" for text in said)


def _uri(image: Tensor) -> str:
    """An image (C, H, W) as a data address: three channels in colour, of any others the first."""
    levels = scaled(image).cpu().numpy()
    return _encoded(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0])


def _encoded(levels: np.ndarray) -> str:
    """An array of levels in [0, 1] as a data address."""
    file = io.BytesIO()
    whole = np.ascontiguousarray((levels * 255).round().astype("uint8"))
    # It goes no further than this machine: time matters, not size.
    Image.fromarray(whole).save(file, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


# Real images


@dataclass(frozen=True)
class Reading:
    """What Q reads of an image.

    Attributes:
        positions: of the controls, at Q's means and its most probable categories.
        charts: Q and the prior, of each control, as HTML.
        shown: the image as the networks see it, as HTML.
    """

    positions: list[Position]
    charts: str
    shown: str


def read(gan: InfoGAN, panel: Panel, image: Tensor) -> Reading:
    """Q's posterior of one image (C, H, W): bars of categories, densities of numbers.

    Raises:
        DataError: for an image that does not fit the declaration.
    """
    found = inferred(gan, image[None], progress=False)
    with seeded(0):
        draws = _draws(gan, image[None])
    positions: list[Position] = []
    cards = []
    for control in panel.controls:
        one = found[control.title]
        if isinstance(one, Categories):
            # Both are in the order of the prior's categories.
            positions.append(control.sweep(len(one.prior))[int(one.chosen)])
            cards.append(_bars(control, one))
        else:
            positions.append(control.position([one.mean.item()]))
            drawn = draws[one.code].reshape(_DRAWS, -1)[:, one.element].float().cpu()
            cards.append(_density(cast(Slider, control), one, drawn))
    shown = _side_by_side({"the image, being reconstructed": image})
    return Reading(positions, f'<div class="cards">{"".join(cards)}</div>', shown)


def _draws(gan: InfoGAN, image: Tensor) -> dict[str, Tensor]:
    """Draws (draws, event shape) of every code from Q of one image."""
    drawn: dict[str, Tensor] = {}
    for key, posterior in gan.infer(image).items():
        draw = posterior.sample(torch.Size([_DRAWS]))[:, 0]
        drawn |= {key: draw} if isinstance(key, str) else gan.prior.split(draw, key)
    return drawn


def _bars(control: Control, one: Categories) -> str:
    """The probability of each category."""
    shares = one.probabilities[0].tolist()
    labels = [control.said(to) for to in control.sweep(len(shares))]
    best = int(one.chosen)
    # Labels of many categories would run into each other.
    every = math.ceil(len(labels) / _LABELS)
    ticks = {index + 0.5: label for index, label in enumerate(labels) if index % every == 0}
    said = f"{labels[best]} with probability {shares[best]:.2f}"
    return _card(
        control, said, chart(shares, one.prior.tolist(), ticks, f"{control.title}: {said}")
    )


def _density(control: Slider, one: Numbers, drawn: Tensor) -> str:
    """The density of a number over the control's range, as shares of draws in equal bins."""
    ends = (control.low, control.high)
    bars, marks = (_shares(_within(control, values), ends) for values in (drawn, one.prior))
    middle = (control.low + control.high) / 2
    places = {0.0: control.low, _BINS / 2: middle, float(_BINS): control.high}
    ticks = {place: control.said(value) for place, value in places.items()}
    mean, deviation = one.mean.item(), one.stddev.item()
    said = f"{control.said(mean)} ± {control.said(deviation)}"
    outside = 1.0 - sum(bars)
    if outside >= _TOLD:
        said += f", {outside:.0%} outside"
    return _card(control, said, chart(bars, marks, ticks, f"{control.title}: {said}"))


def _within(control: Slider, values: Tensor) -> Tensor:
    """Numbers as the control has them: of an angle, once around."""
    if isinstance(control, Dial):
        return control.low + (values - control.low).remainder(2 * math.pi)
    return values


def _shares(values: Tensor, ends: tuple[float, float]) -> list[float]:
    """Shares of values (n,) in equal bins between two ends."""
    counts, _ = np.histogram(values.numpy(), _BINS, ends)
    return (counts / len(values)).tolist()


def _card(control: Control, said: str, drawn: str) -> str:
    title = html.escape(control.title)
    return f"<figure><figcaption><b>{title}</b> {said}</figcaption>{drawn}</figure>"


@dataclass(frozen=True)
class Fit:
    """Noise and codes fitted to an image.

    Attributes:
        positions: of the controls, at the codes.
        noise: (1, noise).
        shown: the image as the networks see it, and its reconstruction, as HTML.
    """

    positions: list[Position]
    noise: Tensor
    shown: str


def fitted(gan: InfoGAN, panel: Panel, image: Tensor) -> Fit:
    """Reconstruct one image (C, H, W) by :func:`~pyro_infogan.inversion.refine`, within seconds.

    Raises:
        DataError: for an image that does not fit the declaration.
    """
    with seeded(0):
        found = refine(gan, image[None], _SCALE, _STEPS)
    error = (scaled(image) - found.images[0].cpu()).square().mean().sqrt().item()
    shown = _side_by_side(
        {"the image": image, f"reconstruction, RMSE {error:.3f}": found.images[0]}
    )
    positions = panel.positions({name: value[0] for name, value in found.codes.items()})
    return Fit(positions, found.noise, shown)


def _side_by_side(images: Mapping[str, Tensor]) -> str:
    """Images (C, H, W) by their captions."""
    figures = "".join(
        f'<figure><img class="pixels" src="{_uri(image)}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, image in images.items()
    )
    return f'<div class="pair">{figures}</div>'
