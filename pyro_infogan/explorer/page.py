"""The page: controls beside the picture that follows them, and real images beneath."""

import html
import importlib
import math
from collections.abc import Sequence
from functools import partial, singledispatch
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ..controls import Choice, Control, Dial, Panel, Position, Slider, Switch
from ..datasets import read_image
from ..errors import DataError, RunError
from ..infogan import InfoGAN
from .looks import DIAL, DIAL_CSS, DIAL_SCRIPT
from .pictures import draw_codes, draw_noise, fitted, grid, read, single

__all__ = ["explorer", "gradio"]

_STEPS = 400
"""Of a slider from end to end."""
_DIGITS = 3
"""Of its range that are told, after the first."""
# Events that answer at once: past the queue, and of a hand's many moves the last.
_AT_ONCE = {
    "queue": False,
    "show_progress": "hidden",
    "trigger_mode": "always_last",
    "api_visibility": "private",
}
_IN_TIME = {"queue": False, "show_progress": "minimal", "api_visibility": "private"}
# What stands for rows of noise among the indices of controls.
_NOISE = -1


def gradio() -> Any:
    """The optional library.

    Raises:
        RunError: where it is not installed.
    """
    try:
        return importlib.import_module("gradio")
    except ImportError:
        raise RunError(
            "the explorer",
            got="no gradio here",
            expected="the optional library",
            fix="Install it: pip install 'pyro-infogan[explore]'.",
        ) from None


# From a control to its widget, and to what moves that widget


@singledispatch
def _widget(control: Control, gr: Any) -> Any:
    raise NotImplementedError(type(control).__name__)


@_widget.register
def _(control: Slider, gr: Any) -> Any:
    width = control.high - control.low
    return gr.Slider(
        control.low,
        control.high,
        control.start,
        step=1 if control.whole else width / _STEPS,
        precision=0 if control.whole else max(0, _DIGITS - math.floor(math.log10(width))),
        label=control.title,
        info=control.about or None,
        elem_id=_id(control),
        buttons=["reset"],
    )


@_widget.register
def _(control: Dial, gr: Any) -> Any:
    return gr.HTML(
        control.start,
        html_template=DIAL,
        css_template=DIAL_CSS,
        js_on_load=DIAL_SCRIPT,
        elem_id=_id(control),
        low=control.low,
        name=control.title,
    )


@_widget.register
def _(control: Choice, gr: Any) -> Any:
    choices = [(label, kind) for kind, label in enumerate(control.labels)]
    return gr.Radio(choices, value=control.start, label=control.title, elem_id=_id(control))


@_widget.register
def _(control: Switch, gr: Any) -> Any:
    return gr.Checkbox(
        control.start, label=control.title, elem_id=_id(control), elem_classes="switch"
    )


def _id(control: Control) -> str:
    return f"code-{control.title}"


@singledispatch
def _update(control: Control, to: Position, gr: Any) -> Any:
    """What moves a control's widget."""
    del control
    return gr.update(value=to)


@_update.register
def _(control: Slider, to: Position, gr: Any) -> Any:
    # A draw, or a real image, may lie beyond the ends.
    low, high = min(control.low, to), max(control.high, to)
    return gr.update(value=to, minimum=low, maximum=high)


@_update.register
def _(control: Dial, to: Position, gr: Any) -> Any:
    del control
    return gr.update(value=to)


class _Explorer:
    """What the page's events do.

    Args:
        gan: a trained InfoGAN, in evaluation mode.
        gr: gradio.
    """

    def __init__(self, gan: InfoGAN, gr: Any) -> None:
        self.gan, self.gr = gan, gr
        self.panel = Panel(gan.prior)
        # Pyro's handlers and torch's random state are the process's: one event draws at a time.
        self._drawing = Lock()

    def show(
        self, noise: Tensor, gridded: bool, across: int, down: int, *positions: Position
    ) -> str:
        """The picture at some positions."""
        if not gridded:
            return single(self.gan, self.panel, noise, positions)
        beneath = None if down in (_NOISE, across) else down
        return grid(self.gan, self.panel, noise, positions, across, beneath)

    def follow(
        self,
        index: int,
        noise: Tensor,
        gridded: bool,
        across: int,
        down: int,
        *positions: Position,
    ) -> list[Any]:
        """The picture after a control was moved, and the controls that give way."""
        moved = self.panel.moved(positions, index, positions[index])
        picture = self.show(noise, gridded, across, down, *moved)
        return [picture, *(moved[other] for other in self.panel.beside(index))]

    def new_noise(
        self, seed: int, gridded: bool, across: int, down: int, *positions: Position
    ) -> list[Any]:
        """Other noise, and the picture with it."""
        with self._drawing:
            noise = draw_noise(self.gan, seed + 1)
        return [seed + 1, noise, self.show(noise, gridded, across, down, *positions)]

    def new_codes(
        self, seed: int, noise: Tensor, gridded: bool, across: int, down: int
    ) -> list[Any]:
        """Codes drawn from their prior, and the picture with them."""
        with self._drawing:
            positions = draw_codes(self.gan, self.panel, seed + 1)
        picture = self.show(noise, gridded, across, down, *positions)
        return [seed + 1, picture, *self._updates(positions)]

    def read(self, file: str, noise: Tensor, gridded: bool, across: int, down: int) -> list[Any]:
        """The image of a file, what Q reads of it, and the picture at its codes.

        Of a file that is no image, why.
        """
        try:
            image = read_image(Path(file), self.gan.image_shape)
        except DataError as error:
            told = f'<p class="told">{html.escape(str(error))}</p>'
            return [None, "", told, *self._unchanged(1)]
        with self._drawing:
            found = read(self.gan, self.panel, image)
        picture = self.show(noise, gridded, across, down, *found.positions)
        return [image, found.charts, found.shown, picture, *self._updates(found.positions)]

    def fit(
        self,
        image: Tensor | None,
        noise: Tensor,
        gridded: bool,
        across: int,
        down: int,
    ) -> list[Any]:
        """The reconstruction of an image, and the picture at its noise and codes."""
        if image is None:
            return self._unchanged(3)
        with self._drawing:
            found = fitted(self.gan, self.panel, image)
        noise = torch.cat([found.noise, noise[1:]])
        picture = self.show(noise, gridded, across, down, *found.positions)
        return [noise, found.shown, picture, *self._updates(found.positions)]

    def _unchanged(self, others: int) -> list[Any]:
        """Outputs that leave some others, and all controls, as they are."""
        return [self.gr.skip()] * (others + len(self.panel.controls))

    def _updates(self, positions: Sequence[Position]) -> list[Any]:
        pairs = zip(self.panel.controls, positions, strict=True)
        return [_update(control, to, self.gr) for control, to in pairs]


def explorer(gan: InfoGAN, title: str) -> Any:
    """The page as gradio's Blocks.

    Args:
        gan: a trained InfoGAN.
        title: of the page.

    Raises:
        RunError: where gradio is not installed.
        DataError: for a code that has no control.
    """
    gr = gradio()
    does = _Explorer(gan.eval(), gr)
    panel = does.panel
    noise = draw_noise(gan, 0)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        seed, held = gr.State(0), gr.State(noise)
        gr.Markdown(f"# {title}")
        with gr.Row(elem_id="bench"):
            with gr.Column(elem_id="stage", scale=5, min_width=300):
                start = single(gan, panel, noise, panel.start)
                picture = gr.HTML(start, elem_id="picture", js_on_load=None)
            with gr.Column(elem_id="controls", scale=6, min_width=300):
                with gr.Row():
                    other_noise = gr.Button("New noise", elem_id="new-noise")
                    other_codes = gr.Button("New codes", elem_id="new-codes")
                view = _view(gr, panel)
                widgets = [_widget(control, gr) for control in panel.controls]
        state = [held, *view]
        for index, widget in enumerate(widgets):
            beside = [widgets[other] for other in panel.beside(index)]
            follow = partial(does.follow, index)
            widget.input(follow, [*state, *widgets], [picture, *beside], **_AT_ONCE)
        for choice in view:
            choice.input(does.show, [*state, *widgets], picture, **_AT_ONCE)
        other_noise.click(
            does.new_noise, [seed, *view, *widgets], [seed, held, picture], **_AT_ONCE
        )
        other_codes.click(does.new_codes, [seed, *state], [seed, picture, *widgets], **_AT_ONCE)
        if gan.image_shape[0] in (1, 3):
            _real_images(gr, does, held, state, picture, widgets)
    return blocks


def _view(gr: Any, panel: Panel) -> list[Any]:
    """What says whether there is a grid, and which controls it sweeps."""
    indices = [(control.title, index) for index, control in enumerate(panel.controls)]
    gridded = gr.Checkbox(False, label="grid", elem_id="grid", elem_classes="switch")
    with gr.Row(visible=False) as axes:
        across = gr.Dropdown(indices, value=0, label="across", elem_id="across", filterable=False)
        rows = [("noise", _NOISE), *indices]
        down = gr.Dropdown(rows, value=_NOISE, label="down", elem_id="down", filterable=False)
    gridded.input(lambda on: gr.update(visible=on), gridded, axes, **_AT_ONCE)
    return [gridded, across, down]


def _real_images(
    gr: Any, does: _Explorer, held: Any, state: list[Any], picture: Any, widgets: list[Any]
) -> None:
    """Where a real image is dropped, and what is found of it."""
    gr.Markdown(
        "## A real image\nDrop one: Q reads its codes, then noise and codes are fitted to its "
        "pixels, and the controls move there."
    )
    with gr.Row():
        with gr.Column(scale=5, min_width=300):
            # Not gradio's Image, which decodes before read_image can refuse.
            file = gr.File(
                type="filepath",
                file_types=["image"],
                height=140,
                label="image",
                elem_id="real",
            )
            pair = gr.HTML("", elem_id="pair", js_on_load=None)
        with gr.Column(scale=6, min_width=300):
            charts = gr.HTML("", elem_id="posterior", js_on_load=None)
    image = gr.State(None)
    file.upload(
        does.read,
        [file, *state],
        [image, charts, pair, picture, *widgets],
        show_progress_on=charts,
        **_IN_TIME,
    ).success(
        does.fit,
        [image, *state],
        [held, pair, picture, *widgets],
        show_progress_on=pair,
        **_IN_TIME,
    )
    file.clear(lambda: ("", ""), None, [charts, pair], **_AT_ONCE)
