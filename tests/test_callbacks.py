"""Callbacks: what they are told, that they disturb nothing, and TensorBoard."""

import gc
import sys
import threading

import pyro.distributions as dist
import pytest
import torch

from pyro_infogan import InfoGAN, families
from pyro_infogan.callbacks import TensorBoard
from pyro_infogan.errors import DataError, RunError
from pyro_infogan.runs import Run
from tests.test_cli import EXPERIMENT, call
from tests.test_training import build, fit, same


class Heard:
    """Keeps what it is told."""

    def __init__(self):
        self.lines = []

    def on_log(self, step, metrics, gan):
        assert step == metrics["step"]
        self.lines.append(dict(metrics))


class Meddling(Heard):
    """Does whatever might disturb a run."""

    def on_log(self, step, metrics, gan):
        super().on_log(step, metrics, gan)
        assert not gan.training
        assert not torch.is_grad_enabled()
        torch.rand(7)
        gan.generate(3)
        gan.model(4)
        gan.train()
        torch.manual_seed(step)
        metrics.clear()


class Failing(Heard):
    """Fails at a step."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_log(self, step, metrics, gan):
        super().on_log(step, metrics, gan)
        if step == self.at:
            raise KeyError("mine")


def untimed(lines):
    return [{name: each for name, each in line.items() if name != "images_per_s"} for line in lines]


def test_a_callback_hears_every_line(images, tmp_path):
    one, other = Heard(), Heard()
    lines = fit(build(), images, steps=25, out=tmp_path, callbacks=[one, other])
    assert [line["step"] for line in one.lines] == [10, 20, 25]
    assert one.lines == other.lines == lines == list(Run(tmp_path).metrics())


def test_lines_are_on_disk_before_they_are_told(images, tmp_path):
    class Reading:
        def on_log(self, step, metrics, gan):
            assert list(Run(tmp_path).metrics())[-1] == metrics

    fit(build(), images, steps=20, out=tmp_path, callbacks=[Reading()])


def test_callbacks_disturb_nothing(images, tmp_path):
    quiet, meddled = build(), build()
    lines = fit(quiet, images, steps=25)
    # Stopped between lines, and resumed.
    fit(meddled, images, steps=17, out=tmp_path, callbacks=[Meddling()])
    again, heard = build(seed=99), Meddling()
    given = fit(again, images, steps=25, out=tmp_path, resume=True, callbacks=[heard])
    assert same(quiet, again)
    assert untimed(lines) == untimed(given) == untimed(Run(tmp_path).metrics())
    assert [line["step"] for line in heard.lines] == [20, 25]


def test_an_exception_ends_the_run_after_saving(images, tmp_path):
    whole = build()
    fit(whole, images, steps=25)
    with pytest.raises(KeyError, match="mine"):
        fit(build(), images, steps=25, out=tmp_path, callbacks=[Failing(10)])
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [10]
    again, heard = build(seed=99), Failing(10)
    fit(again, images, steps=25, out=tmp_path, resume=True, callbacks=[heard])
    assert [line["step"] for line in heard.lines] == [20, 25]
    assert same(whole, again)
    with pytest.raises(KeyError, match="mine"):
        fit(build(), images, steps=10, callbacks=[Failing(10)])


@pytest.mark.parametrize("callbacks", [Heard(), [print], [Heard], [None], 3, "on_log"])
def test_bad_callbacks_are_refused_before_anything_is_written(callbacks, images, tmp_path):
    with pytest.raises(DataError, match="on_log"):
        fit(build(), images, out=tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()


# TensorBoard

pytest.importorskip("tensorboard")


def read(folder):
    """What TensorBoard itself makes of a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return events.Reload()


def scalars(events, name):
    return [(event.step, event.value) for event in events.Scalars(name)]


def approximately(pairs):
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in pairs]


def test_tensorboard_has_the_lines_and_the_pictures(images, tmp_path):
    gan, board = build(), TensorBoard(tmp_path / "board", images_every=20)
    lines = fit(gan, images, steps=25, callbacks=[board])
    events = read(tmp_path / "board")
    for name in ("loss_d", "loss_g", "d_real", "d_fake", "info/digit", "info/style"):
        expected = [(line["step"], line[name]) for line in lines]
        assert scalars(events, name) == approximately(expected)
    for name, nats in gan.entropies.items():
        told = scalars(events, f"entropy/{name}")
        assert told == approximately([(step, nats) for step in (10, 20, 25)])
    tags = {"samples", "traverse/digit", "traverse/slant", "traverse/style-0", "traverse/style-1"}
    assert set(events.Tags()["images"]) == tags
    (shown,) = events.Images("samples")
    # Eight by eight images of eight pixels with a line around each.
    assert (shown.step, shown.width, shown.height) == (20, 80, 80)
    assert "custom_scalars__config__" in events.Tags()["tensors"]


def test_the_noise_of_the_pictures_is_fixed(tmp_path):
    gan, board = build().eval(), TensorBoard(tmp_path, images_every=1)
    for step in (1, 2):
        torch.manual_seed(step)
        board.on_log(step, {"step": step}, gan)
    gan.generator.load_state_dict(build(seed=6).generator.state_dict())
    board.on_log(3, {"step": 3}, gan)
    first, second, third = (
        event.encoded_image_string for event in read(tmp_path).Images("samples")
    )
    assert first == second != third


def test_a_resumed_run_replaces_what_was_written(images, tmp_path):
    def board():
        return [TensorBoard(tmp_path / "board", images_every=10)]

    with pytest.raises(KeyError):
        fit(build(), images, steps=40, callbacks=[*board(), Failing(30)])
    run = {"out": tmp_path / "run", "save_every": 10}
    fit(build(), images, steps=20, **run)
    fit(build(), images, steps=40, callbacks=board(), resume=True, **run)
    events = read(tmp_path / "board")
    assert [step for step, _ in scalars(events, "loss_d")] == [10, 20, 30, 40]
    assert [event.step for event in events.Images("samples")] == [10, 20, 30, 40]


def test_priors_that_learn_have_curves_of_their_entropy(tmp_path):
    gan, board = build(), TensorBoard(tmp_path)
    for step, nats in ((10, 0.5), (20, 0.25)):
        board.on_log(step, {"step": step, "entropy/digit": nats}, gan)
    assert scalars(read(tmp_path), "entropy/digit") == [(10, 0.5), (20, 0.25)]
    both = InfoGAN(
        {"a": dist.Normal(0.0, 1.0), "b": dist.Normal(0.0, 1.0)},
        (1, 8, 8),
        posterior={("a", "b"): families.MultivariateNormal},
    )
    board = TensorBoard(tmp_path / "both")
    board.on_log(10, {"step": 10, "entropy/a": 0.5, "entropy/b": 0.25}, both)
    assert scalars(read(tmp_path / "both"), "entropy/a,b") == [(10, 0.75)]


def test_tensorboard_disturbs_nothing(images, tmp_path):
    quiet, watched = build(), build()
    fit(quiet, images, steps=20)
    fit(watched, images, steps=20, callbacks=[TensorBoard(tmp_path, images_every=10)])
    assert same(quiet, watched)


def test_tensorboards_threads_end_with_it(images, tmp_path):
    before = threading.active_count()
    for seed in range(3):
        fit(build(), images, steps=1, callbacks=[TensorBoard(tmp_path / str(seed))])
    gc.collect()
    assert threading.active_count() <= before


def test_the_command_line_writes_beside_the_run(tmp_path):
    file, run = tmp_path / "own.py", tmp_path / "run"
    file.write_text(EXPERIMENT)
    assert call("train", file, "--out", run, "--tensorboard", "--device", "cpu") == 0
    lines = [(line["step"], line["loss_g"]) for line in Run(run).metrics()]
    assert scalars(read(run / "tensorboard"), "loss_g") == approximately(lines)


def test_a_folder_that_cannot_be_written_to(gan, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="can be written to"):
        TensorBoard(tmp_path / "file").on_log(10, {"step": 10}, gan)


def test_tensorboard_needs_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DataError, match=r"pyro-infogan\[tensorboard\]"):
        TensorBoard(tmp_path)
    with pytest.raises(DataError, match="images_every"):
        TensorBoard(tmp_path, images_every=0)
