"""The loop: data order, metrics, checkpoints, resuming, refusing."""

import contextlib
import copy
import functools
import json
import math

import numpy as np
import pyro
import pytest
import torch
from torch import nn
from torch._dynamo import lookup_backend

from pyro_infogan import PLAIN_GAN, InfoGAN, Invariance, Objective, Rates, datasets, train
from pyro_infogan.errors import DataError, DeclarationError, DivergenceError, RunError
from pyro_infogan.inference import Guidance, Step
from pyro_infogan.inference.distortion import Affine, Chain, Inks, Strokes, Tints
from pyro_infogan.runs import Run
from pyro_infogan.training import loop, metrics, order, record
from tests.conftest import small_codes
from tests.killed import Codes


def build(seed=5, **arguments):
    torch.manual_seed(seed)
    return InfoGAN(small_codes(), (1, 8, 8), noise=4, **arguments)


def fit(gan, images, steps=5, **arguments):
    return train(gan, images, **{"steps": steps, "batch_size": 8, "progress": False} | arguments)


def same(one, other):
    return all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_metrics_and_run_folder(images, tmp_path):
    gan = build()
    lines = fit(gan, images, steps=25, out=tmp_path / "run")
    run = Run(tmp_path / "run")
    assert [line["step"] for line in lines] == [10, 20, 25]
    assert list(run.metrics()) == lines
    infos = {f"info/{name}" for name in small_codes()}
    assert {"step", "loss_d", "loss_g", "images_per_s"} | infos <= set(lines[0])
    record = run.record()
    assert record is not None
    assert record["settings"]["batch_size"] == 8
    assert "torch" in record["versions"]
    assert [step for step, _ in run.checkpoints()] == [25]
    assert not gan.training
    assert same(InfoGAN.load(tmp_path / "run"), gan)


def test_lines_average_their_steps(images, monkeypatch):
    single = build()
    (mean,) = fit(build(), images, steps=10)
    for module in (loop, metrics):
        monkeypatch.setattr(module, "LOG_EVERY", 1)
    each = fit(single, images, steps=10)
    assert mean["loss_d"] == pytest.approx(sum(line["loss_d"] for line in each) / 10, rel=1e-5)


# The compiler looks at gradients of inner tensors, which torch warns of.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_networks_train_alike(images, tmp_path):
    plain, compiled = build(), build()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return lookup_backend("aot_eager")(graph, inputs)

    # One by one, as images pass a compiled trunk.
    plain.trunk = nn.Sequential(*plain.trunk)
    compiled.generator.compile(backend=backend)
    compiled.trunk.compile(backend=backend)
    # In bfloat16 the compiler rounds at other places.
    precision = torch.float32
    (expected,) = fit(plain, images, precision=precision)
    assert not graphs
    (found,) = fit(compiled, images, out=tmp_path, precision=precision)
    assert len(graphs) >= 2
    del expected["images_per_s"], found["images_per_s"]
    assert found == pytest.approx(expected, rel=1e-4)
    assert same(InfoGAN.load(tmp_path), compiled)


@pytest.mark.parametrize("stop", [7, 20])
def test_a_resumed_run_is_the_run_that_never_stopped(stop, images, tmp_path):
    whole, parts = build(), build()
    fit(whole, images, steps=27, out=tmp_path / "whole")
    fit(parts, images, steps=stop, out=tmp_path / "parts")
    again = build(seed=99)
    fit(again, images, steps=27, out=tmp_path / "parts", resume=True)
    assert same(whole, again)

    def lines(name):
        return [
            {key: value for key, value in line.items() if key != "images_per_s"}
            for line in Run(tmp_path / name).metrics()
        ]

    assert lines("whole") == lines("parts")


def test_resuming_nothing_starts_and_resuming_the_end_stays(images, tmp_path):
    gan = build()
    fit(gan, images, out=tmp_path / "run", resume=True)
    again = build(seed=99)
    lines = fit(again, images, out=tmp_path / "run", resume=True)
    assert same(gan, again)
    assert lines[-1]["step"] == 5


def test_a_run_killed_before_its_first_checkpoint_starts_again(images, tmp_path):
    whole = fit(build(), images, steps=20, out=tmp_path)
    for _, path in Run(tmp_path).checkpoints():
        path.unlink()
    again = fit(build(), images, steps=20, out=tmp_path, resume=True)
    assert [line["step"] for line in Run(tmp_path).metrics()] == [10, 20]
    assert [line["loss_d"] for line in whole] == [line["loss_d"] for line in again]


def test_the_seed_decides_and_the_caller_is_left_alone(images):
    state = torch.get_rng_state()
    one, two, other = build(), build(), build()
    torch.set_rng_state(state)
    fit(one, images, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1234)
    fit(two, images, seed=3)
    fit(other, images, seed=4)
    assert same(one, two)
    assert not same(one, other)


def test_the_seed_decides_the_draws_too():
    """On images that are all alike, order changes nothing: only noise and codes can."""
    blank = torch.zeros(40, 1, 8, 8)
    one, other = build(), build()
    fit(one, blank, seed=3)
    fit(other, blank, seed=4)
    assert not same(one, other)


def test_validation_is_as_it_was(images):
    for flag in (True, False):
        with pyro.validation_enabled(flag):
            fit(build(), images, steps=1)
            assert pyro.distributions.is_validation_enabled() == flag


def test_every_epoch_sees_every_image_once():
    batches = order.batches(10, 3, seed=0, start=0)
    epochs = [torch.cat([next(batches) for _ in range(3)]) for _ in range(3)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 9
    assert not torch.equal(epochs[0], epochs[1])
    late = order.batches(10, 3, seed=0, start=4)
    assert torch.equal(next(late), epochs[1][3:6])


def test_kinds_of_data_train_alike(images):
    as_bytes, as_floats, as_set = build(), build(), build()
    fit(as_bytes, images)
    fit(as_floats, images.float() / 255)
    fit(as_set, datasets.ImageSet(images, torch.zeros(len(images), dtype=torch.uint8)))
    assert same(as_bytes, as_floats)
    assert same(as_bytes, as_set)


def test_old_checkpoints_go(images, tmp_path):
    fit(build(), images, steps=7, out=tmp_path, save_every=2)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [6, 7]
    assert not list(tmp_path.glob("**/.*")), "nothing half-written is left"


def test_a_plain_gan_trains(images):
    lines = fit(build(), images, objective=PLAIN_GAN)
    assert "info/digit" in lines[-1]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: x[:, :, :7], r"shape \(40, 1, 7, 8\)"),
        (lambda x: x.expand(-1, 3, -1, -1), r"shape \(40, 3, 8, 8\)"),
        (lambda x: x[0], "shape"),
        (lambda x: x[:0], "at least one"),
        (lambda x: x.float(), "values from 0 to 255"),
        (lambda x: x.float() / 255 - 0.5, "values from"),
        (lambda x: x.float().index_fill(0, torch.tensor([3]), float("nan")) / 255, "NaN"),
        (lambda x: x.to(torch.int64), "dtype"),
        (lambda x: x.numpy(), "ndarray"),
        (lambda x: None, "NoneType"),
        (lambda x: x[:7], "one batch of 8"),
    ],
)
def test_bad_images_are_refused_before_anything_is_written(spoil, says, images, tmp_path):
    with pytest.raises(DataError, match=says):
        fit(build(), spoil(images), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"batch_size": 1},
        {"batch_size": True},
        {"seed": -1},
        {"save_every": 0},
    ],
    ids=str,
)
def test_bad_counts_are_refused(arguments, images, tmp_path):
    with pytest.raises(DataError, match="whole number"):
        fit(build(), images, out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_labels_must_be_as_many_as_images(images):
    good = torch.zeros(40, dtype=torch.uint8)
    assert datasets.ImageSet(images, good).labels.dtype == torch.int64
    for bad in (good[:3], good.float(), good.view(40, 1), list(range(40))):
        with pytest.raises(DataError, match="one for each image"):
            datasets.ImageSet(images, bad)


class TestAnotherRunsFolder:
    @pytest.fixture
    def folder(self, images, tmp_path):
        fit(build(), images, out=tmp_path)
        return tmp_path

    def test_a_run_is_not_overwritten(self, folder, images):
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        with pytest.raises(RunError, match="--resume"):
            fit(build(), images, out=folder)
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    @pytest.mark.parametrize("resume", [True, False])
    def test_another_declaration_is_refused(self, resume, folder, images):
        torch.manual_seed(0)
        other = InfoGAN({"digit": small_codes()["digit"]}, (1, 8, 8), noise=4)
        with pytest.raises(RunError, match="declaration"):
            fit(other, images, out=folder, resume=resume)

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ({"seed": 1}, "settings {'seed': 0}, .* settings {'seed': 1}"),
            ({"batch_size": 4}, "settings {'batch_size': 8}, .* settings {'batch_size': 4}"),
            ({"objective": PLAIN_GAN}, "'info_updates_trunk': True, .* {'objective': {'info"),
            ({"rates": Rates(1e-3)}, "{'discriminator': 0.0002}}, .* {'discriminator': 0.001}}"),
        ],
    )
    def test_other_settings_are_refused_by_what_differs(self, arguments, says, folder, images):
        with pytest.raises(RunError, match=says):
            fit(build(), images, out=folder, resume=True, **arguments)

    def test_an_unreadable_record_is_refused(self, folder, images):
        (folder / "run.json").write_text("{")
        with pytest.raises(RunError, match=r"run\.json"):
            fit(build(), images, out=folder)


def test_a_loss_that_turns_nan_keeps_the_last_good_checkpoint(images, tmp_path, monkeypatch):
    gan = build()
    real_scaled = loop.scaled
    calls = []

    def poisoned(batch):
        calls.append(1)
        batch = real_scaled(batch)
        return batch * float("nan") if len(calls) == 6 else batch

    monkeypatch.setattr(loop, "scaled", poisoned)
    with pytest.raises(DivergenceError, match=r"at step 6: got loss_d .*step-00000004\.pt"):
        fit(gan, images, steps=20, out=tmp_path, save_every=4)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [4]
    kept = InfoGAN.load(tmp_path)
    assert all(value.isfinite().all() for value in kept.parameters())


def test_a_prior_that_turns_nan_is_told_as_such(images):
    gan = InfoGAN(Codes(), image_shape=(1, 8, 8), noise=4)
    # The third step cannot draw from it; the second left it so.
    with pytest.raises(DivergenceError, match=r"at step \d: got weight prior.* not finite"):
        fit(gan, images, steps=9, rates=Rates(prior=1e39))
    assert not gan.training


def test_other_failures_stay_what_they_are(images, monkeypatch):
    def failing(batch):
        raise RuntimeError("out of memory")

    gan = build()
    monkeypatch.setattr(loop, "scaled", failing)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        fit(gan, images, steps=3)
    assert not gan.training


def test_divergence_without_a_checkpoint_says_so(images, monkeypatch):
    monkeypatch.setattr(loop, "scaled", lambda batch: batch.float() * float("nan"))
    with pytest.raises(DivergenceError, match="No checkpoint"):
        fit(build(), images, steps=3)


def test_other_images_are_another_run(images, tmp_path):
    fit(build(), images, out=tmp_path)
    with pytest.raises(RunError, match="a run of other images"):
        fit(build(), 255 - images, out=tmp_path, steps=9, resume=True)


def test_the_images_that_tell_a_set_from_another_are_spread_over_all_of_it(
    images, tmp_path, monkeypatch
):
    """Of forty, of which four are looked at, one of the last ten tells."""
    monkeypatch.setattr(record, "_SUMMED", 4)
    fit(build(), images, out=tmp_path)
    images[30] = 255 - images[30]
    with pytest.raises(RunError, match="other images"):
        fit(build(), images, out=tmp_path, steps=9, resume=True)


def test_the_same_labels_of_other_images_are_another_run(images, tmp_path):
    labels = torch.full((40,), -1)
    labels[:10] = torch.arange(10) % 3
    fit(build(), images, out=tmp_path, labels={"digit": labels})
    with pytest.raises(RunError, match="'labels'"):
        fit(build(), images, out=tmp_path, steps=9, resume=True, labels={"digit": labels.roll(1)})


def test_a_folder_without_its_record_is_refused(images, tmp_path):
    fit(build(), images, out=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError, match=r"without a run\.json"):
        fit(build(), images, out=tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [{"objective": None}, {"rates": 1e-3}, {"precision": torch.int8}, {"precision": "bf16"}],
    ids=str,
)
def test_settings_of_other_kinds_are_refused(arguments, images, tmp_path):
    with pytest.raises(DeclarationError, match="expected"):
        fit(build(), images, out=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_rates_are_checked():
    for bad in ({"discriminator": -1.0}, {"generator": math.inf}, {"betas": (0.5, 1.0)}):
        with pytest.raises(DeclarationError, match="learning rates"):
            Rates(**bad)


def test_a_frozen_layer_stays_frozen(images):
    gan = build()
    gan.trunk[0].weight.requires_grad_(False)
    before = gan.trunk[0].weight.clone()
    fit(gan, images, steps=2)
    assert torch.equal(gan.trunk[0].weight, before)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_player_whose_weights_are_frozen_stands_still(images):
    """Such as a generator that Q is to be fitted to."""
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=4)
    gan.generator.requires_grad_(False)
    before = {name: value.clone() for name, value in gan.generator.named_parameters()}
    head = gan.posterior.heads[0].linear.weight.clone()
    train(gan, images, steps=3, batch_size=10, progress=False)
    assert all(torch.equal(before[name], value) for name, value in gan.generator.named_parameters())
    assert not torch.equal(gan.posterior.heads[0].linear.weight, head)
    with pytest.raises(DeclarationError, match="all frozen"):
        train(gan.requires_grad_(False), images, steps=3, batch_size=10, progress=False)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_context_of_the_caller_does_not_matter(context, images):
    def run(context):
        torch.manual_seed(0)
        gan = InfoGAN(small_codes(), (1, 8, 8), noise=4)
        with context():
            return train(gan, images, steps=3, batch_size=10, progress=False)

    plain, inside = run(contextlib.nullcontext)[-1], run(context)[-1]
    del plain["images_per_s"], inside["images_per_s"]
    assert inside == plain
    with torch.inference_mode():
        made = InfoGAN(small_codes(), (1, 8, 8), noise=4)
    with pytest.raises(DeclarationError, match="inference_mode"):
        train(made, images, steps=3, batch_size=10, progress=False)


def test_weights_may_be_of_double_precision_but_not_of_half(images):
    """Early on the same numbers, of which the one kind has more digits."""
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=0)
    codes = gan.prior.draw(10)
    told = {}
    for dtype in (torch.float32, torch.float64):
        one = copy.deepcopy(gan).to(dtype).train()
        one.draw = lambda n, dtype=dtype: (torch.empty(n, 0, dtype=dtype), codes)
        told[dtype] = Step(one)(images[:10] / 255)
    for name, value in told[torch.float64].items():
        # The generator's loss is by weights that Adam's first step moved by its whole rate.
        near = 1e-3 if name == "loss_g" else 1e-5
        assert told[torch.float32][name].item() == pytest.approx(value.item(), abs=near)
    line = train(gan.double(), images, steps=3, batch_size=10, progress=False)[-1]
    assert all(map(math.isfinite, line.values()))
    with pytest.raises(DeclarationError, match="float16"):
        train(gan.half(), images, steps=3, batch_size=10, progress=False)


@pytest.mark.parametrize(
    ("distort", "says"),
    [
        (lambda images: images.mul_(0.5), "changes the images"),
        (lambda images: images[..., :4], r"shape \(2, 1, 8, 4\)"),
        (lambda images: images.numpy(), "ndarray"),
        (lambda images: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_distortion_that_is_none_is_refused(distort, says, images, tmp_path):
    gan = InfoGAN(small_codes(), (1, 8, 8), noise=4)
    objective = Objective(invariance=Invariance(distort, ("digit",)))
    with pytest.raises(DeclarationError, match=says):
        train(gan, images, 3, 10, out=tmp_path / "run", objective=objective, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_is_refused(images, tmp_path):
    for device in ("cuda", "nonsense", "meta"):
        with pytest.raises(RunError, match="Use 'cpu'"):
            fit(build(), images, out=tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_a_gpu(images, tmp_path):
    gan = build()
    fit(gan, images, steps=12, out=tmp_path, device="cuda")
    assert gan.device.type == "cuda"
    assert gan.generate(3, {"digit": 1}).device.type == "cuda"
    fit(build(), images, steps=14, out=tmp_path, device="cuda", resume=True)
    assert InfoGAN.load(tmp_path).device.type == "cpu"


class Dim:
    """A distortion that is no dataclass."""

    def __init__(self, by):
        self.by = by

    def __repr__(self):
        return f"Dim({self.by})"

    def __call__(self, images):
        return images * self.by


def dim(images, by):
    return images * by


class Never:
    """A schedule that is no dataclass."""

    def labelled(self, batch_size, epoch, draw):
        return 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (functools.partial(dim, by=0.5), functools.partial(dim, by=0.9)),
        (Dim(0.5), Dim(0.9)),
        (Chain([Dim(0.5), Strokes()]), Chain([Dim(0.5), Affine()])),
        (Inks(2.0), Tints(2.0)),
    ],
    ids=["partial", "object", "chain", "dataclasses alike"],
)
def test_any_distortion_is_recorded_and_told_from_others(one, other, images, tmp_path):
    def along(distort, steps):
        objective = Objective(invariance=Invariance(distort, ("digit",)))
        arguments = {"out": tmp_path, "resume": True, "objective": objective}
        return fit(build(), images, steps=steps, **arguments)

    along(one, 2)
    along(one, 3)
    with pytest.raises(RunError, match=r"invariance.*distort"):
        along(other, 4)


def test_a_schedule_of_any_class_is_recorded(images, tmp_path):
    objective = Objective(guidance=Guidance(schedule=Never()))
    for steps in (2, 3):
        fit(build(), images, steps=steps, out=tmp_path, resume=True, objective=objective)


def test_whole_numbers_of_numpy_are_whole_numbers(images, tmp_path):
    counts = {"steps": 3, "batch_size": 8, "seed": 2, "save_every": 2}
    mine = build()
    fit(mine, images, out=tmp_path / "numpy", **{name: np.int64(n) for name, n in counts.items()})
    same_counts = build()
    fit(same_counts, images, out=tmp_path / "python", **counts)
    assert same(mine, same_counts)


def test_labels_resume_in_any_order(images, tmp_path):
    labels = {"digit": torch.arange(40) % 3, "slant": torch.linspace(-1, 1, 40)}
    fit(build(), images, steps=2, out=tmp_path, labels=labels)
    turned = dict(reversed(labels.items()))
    fit(build(), images, steps=3, out=tmp_path, labels=turned, resume=True)
    assert [step for step, _ in Run(tmp_path).checkpoints()][-1] == 3


def test_settings_are_recorded_as_data(images, tmp_path):
    fit(build(), images, out=tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["rates"]["discriminator"] == 2e-4
    assert record["settings"]["objective"]["invariance"] is None
