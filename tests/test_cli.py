"""The command line, end to end on a small experiment of the user's own."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pyro_infogan.cli import main, measuring
from pyro_infogan.inference.step import PRECISIONS
from pyro_infogan.runs import Run

EXPERIMENT = """
import pyro.distributions as dist
import torch
from torch import nn

from pyro_infogan import Experiment, datasets


class Own(nn.Module):
    def __init__(self, prior, features):
        super().__init__()
        self.linear = nn.Linear(features, 1)

    def forward(self, features):
        return dist.Normal(self.linear(features).squeeze(-1), 1.0)


def data(train=True):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return datasets.ImageSet(images, torch.arange(40) % 3)


small = Experiment(
    codes={
        "digit": dist.Categorical(torch.ones(3)),
        "slant": dist.Uniform(-1.0, 1.0),
        "style": dist.Normal(0.0, 1.0).expand([2]).to_event(1),
    },
    image_shape=(1, 8, 8),
    data=data,
    noise=4,
    posterior={"slant": Own},
    steps=12,
    batch_size=8,
)
"""


def call(*arguments):
    """Exit code of a command, 0 where it returns."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code or 0
    return 0


def size(path):
    with Image.open(path) as image:
        return image.size


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    file = folder / "my_codes.py"
    file.write_text(EXPERIMENT)
    assert call("train", file, "--out", folder / "run") == 0
    # The run keeps its own copy.
    file.unlink()
    return folder / "run"


def test_training_keeps_everything(trained):
    run = Run(trained)
    record = run.record()
    assert record is not None
    assert record["settings"]["experiment"] == "small"
    assert [line["step"] for line in run.metrics()] == [10, 12]
    assert (trained / "experiment.py").read_text() == EXPERIMENT


def test_evaluate(trained, capsys):
    assert call("evaluate", trained, "--draws", 50) == 0
    report = json.loads((trained / "report.json").read_text())
    assert set(report["information"]) == {"digit", "slant", "style"}
    assert set(report["calibration"]) == {"digit", "slant", "style[0]", "style[1]"}
    assert report["images"] == 40
    assert "accuracy" in capsys.readouterr().out
    assert size(trained / "confusion-digit.png")[0] > 100


def test_figures(trained):
    assert call("figures", trained, "--baseline", trained, "--animate", "gif") == 0
    names = {path.name for path in (*trained.glob("*.png"), *trained.glob("*.gif"))}
    assert {
        "animation-digit.gif",
        "animation-style-1.gif",
        "bound.png",
        "game.png",
        "calibration.png",
        "samples.png",
        "traverse-digit.png",
        "traverse-slant.png",
        "traverse-style-0.png",
        "traverse-style-1.png",
    } <= names


def test_sample(trained, tmp_path):
    out = tmp_path / "grid.png"
    codes = ["digit=2", "slant=1.5", "style=0.1,-0.2"]
    assert call("sample", trained, "--codes", *codes, "--count", 9, "--out", out) == 0
    # Three columns and rows of 8 pixels, each with a line of one around it.
    assert size(out) == (30, 30)


def test_infer(trained, tmp_path, capsys):
    Image.new("RGBA", (20, 10), "red").save(tmp_path / "a.png")
    Image.new("L", (8, 8), 255).save(tmp_path / "b.png")
    assert call("infer", trained, tmp_path / "a.png", tmp_path / "b.png") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"].rsplit("/", 1)[-1] for line in lines] == ["a.png", "b.png"]
    first, second = (line["codes"] for line in lines)
    assert sum(first["digit"]["probs"]) == pytest.approx(1.0, abs=1e-5)
    assert first["slant"]["family"] == "Normal"
    assert len(second["style"]["loc"]) == 2


def test_experiments(capsys):
    assert call("experiments") == 0
    out = capsys.readouterr().out
    assert "mnist " in out
    assert "mnist-digit" in out


def test_the_precision_is_that_asked_for(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(EXPERIMENT)
    reference = f"{file}:small"
    for dtype in PRECISIONS:
        run, name = tmp_path / str(dtype), str(dtype).removeprefix("torch.")
        assert call("train", reference, "--out", run, "--steps", 2, "--precision", name) == 0
        assert json.loads((run / "run.json").read_text())["precision"] == str(dtype)
    losses = [
        json.loads((tmp_path / str(dtype) / "metrics.jsonl").read_text())["loss_d"]
        for dtype in PRECISIONS
    ]
    assert len(set(losses)) == len(PRECISIONS)
    assert call("train", reference, "--out", tmp_path / "none", "--precision", "float16") == 2


def test_resume_and_baseline(tmp_path, capsys):
    file = tmp_path / "own.py"
    file.write_text(EXPERIMENT)
    reference = f"{file}:small"
    assert call("train", reference, "--out", tmp_path / "run", "--steps", 3) == 0
    assert call("train", reference, "--out", tmp_path / "run", "--steps", 5, "--resume") == 0
    assert [step for step, _ in Run(tmp_path / "run").checkpoints()] == [3, 5]
    assert call("train", file, "--out", tmp_path / "plain", "--steps", 2, "--plain-gan") == 0
    capsys.readouterr()
    # With no step left, and no line of metrics, as after a signal before the first of them.
    shutil.copytree(tmp_path / "run", tmp_path / "early")
    (tmp_path / "early" / "metrics.jsonl").write_text("")
    assert call("train", reference, "--out", tmp_path / "early", "--steps", 2, "--resume") == 0
    assert "early has 5 steps" in capsys.readouterr().out
    again = ["--out", tmp_path / "run", "--steps", 9, "--resume"]
    assert call("train", file, *again, "--plain-gan") == 1
    assert "settings" in capsys.readouterr().err
    # The same codes on other data, or by another name, are another run.
    file.write_text(EXPERIMENT.replace("manual_seed(0)", "manual_seed(1)"))
    assert call("train", file, *again) == 1
    file.write_text(EXPERIMENT.replace("small = ", "other = "))
    assert call("train", file, *again) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "does not exist"),
        ("x = 1", "no experiment"),
        ("1 / 0", "ZeroDivisionError"),
        ("import", "SyntaxError"),
        (EXPERIMENT + "\nother = small", "Name one as"),
        (EXPERIMENT.replace("dist.Uniform(-1.0, 1.0)", "3.0"), "a Pyro distribution"),
        ("import sys\nsys.exit(0)", "SystemExit: 0 in line 2"),
        (EXPERIMENT.replace("def data(train=True)", "def data()"), "data(train=True)"),
        (EXPERIMENT.replace("data=data,", "data=data(),"), "not callable"),
        (EXPERIMENT.replace("(1, 8, 8),\n    data", "(1, 9, 9),\n    data"), "(40, 1, 8, 8)"),
    ],
)
def test_bad_experiment_files(text, says, tmp_path, capsys):
    file = tmp_path / "own.py"
    if text is not None:
        file.write_text(text)
    assert call("train", file, "--out", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "mnits"], 1, "mnist-digit"),
        (["train", "mnist", "--steps", "0", "--out", "RUN"], 1, "whole number"),
        (["train", "mnist", "--steps", "many"], 2, "steps"),
        (["train"], 2, "required"),
        (["fly"], 2, "fly"),
        (["train", "mnist", "--data", "", "--out", "RUN"], 2, "expected no empty one"),
        ([], 2, "train"),
        (["evaluate", "nowhere"], 1, "does not exist"),
        (["sample", "nowhere", "--codes", "digit"], 1, "does not exist"),
    ],
)
def test_bad_usage(arguments, code, says, capsys, tmp_path):
    arguments = [str(tmp_path / "run") if word == "RUN" else word for word in arguments]
    assert call(*arguments) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bad_codes_and_images(trained, tmp_path, capsys):
    assert call("sample", trained, "--codes", "digit=1", "digit=2") == 1
    assert "twice" in capsys.readouterr().err
    for codes in ("digit", "digit=x", "digit=", "colour=1", "digit=7"):
        assert call("sample", trained, "--codes", codes, "--out", tmp_path / "no.png") == 1
        assert "error: " in capsys.readouterr().err
    (tmp_path / "text.png").write_text("no image")
    Image.new("I;16", (8, 8)).save(tmp_path / "deep.png")
    Image.new("L", (8, 8)).save(tmp_path / "cut.png")
    cut = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(cut[:-30])
    for name in ("text.png", "deep.png", "cut.png", "missing.png"):
        assert call("infer", trained, tmp_path / name) == 1
        assert name in capsys.readouterr().err


def test_bad_figures_and_seeds(trained, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.jsonl").write_text('{"step": 1, "info/colour": 0.1}\n')
    for baseline, says in ((tmp_path, "no metrics"), (other, "digit")):
        assert call("figures", trained, "--baseline", baseline) == 1
        assert says in capsys.readouterr().err
    for seed in ("-1", "99999999999999999999"):
        for command in ("sample", "figures"):
            assert call(command, trained, "--seed", seed) == 1
            assert "--seed" in capsys.readouterr().err
    assert call("infer", trained) == 1
    assert "one or more files" in capsys.readouterr().err


BESIDE = """
from pathlib import Path

import pyro.distributions as dist
import torch

from beside import SIDE
from pyro_infogan.datasets import folder
from pyro_infogan.models import Experiment

HERE = Path(__file__).parent


def data(train=True):
    return folder(HERE / "photos", SIDE, grey=True, train=train, progress=False)


mine = Experiment(
    {"kind": dist.Categorical(torch.ones(3))}, (1, SIDE, SIDE), data,
    real=lambda path, train=True: folder(path, SIDE, grey=True, train=train, progress=False),
    noise=2, steps=2, batch_size=8,
)
"""


@pytest.fixture
def beside(tmp_path):
    """An experiment file that leans on what stands beside it: pictures, and a module."""
    (tmp_path / "photos").mkdir()
    for index in range(24):
        Image.new("L", (8, 8), index * 10).save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "beside.py").write_text("SIDE = 8\n")
    (tmp_path / "mine.py").write_text(BESIDE)
    return tmp_path


def test_what_stands_beside_an_experiment_file_is_found_by_its_run(beside, monkeypatch):
    monkeypatch.chdir(beside)
    assert call("train", "mine.py", "--out", "runs/mine") == 0
    monkeypatch.chdir(beside.parent)
    before = list(sys.path)
    assert call("evaluate", beside / "runs" / "mine", "--draws", "20") == 0
    assert sys.path == before


def test_images_that_moved_are_named_and_results_may_go_elsewhere(beside, monkeypatch, capsys):
    monkeypatch.chdir(beside)
    assert call("train", "mine.py", "--data", "photos", "--out", "run") == 0
    (beside / "photos").rename(beside / "moved")
    assert call("evaluate", "run", "--draws", "20") == 1
    before = sorted(path.name for path in (beside / "run").iterdir())
    for command in (("evaluate", "run", "--draws", "20"), ("figures", "run")):
        assert call(*command, "--data", "moved", "--out", "found") == 0
    assert sorted(path.name for path in (beside / "run").iterdir()) == before
    assert {"report.json", "bound.png"} <= {path.name for path in (beside / "found").iterdir()}
    # Other images are another run, in words.
    (beside / "moved" / "3.png").unlink()
    capsys.readouterr()
    assert call("train", "mine.py", "--data", "moved", "--out", "run", "--resume") == 1
    assert "added, removed or changed" in capsys.readouterr().err


def test_a_run_inside_the_images_is_none_of_them(beside, monkeypatch, capsys):
    monkeypatch.chdir(beside / "photos")
    command = ("train", "../mine.py", "--data", ".", "--out", "runs/mine")
    assert call(*command) == 0
    assert call("figures", "runs/mine") == 0
    assert call(*command, "--steps", "3", "--resume") == 0
    assert call("train", "../mine.py", "--data", ".", "--out", ".") == 1
    assert "--out" in capsys.readouterr().err


def test_a_folder_needs_no_python(beside, monkeypatch, capsys):
    monkeypatch.chdir(beside)
    assert call("train", "images") == 1
    assert "--data" in capsys.readouterr().err
    assert call("train", "images", "--data", "photos", "--steps", "2", "--batch-size", "8") == 0
    assert call("discover", "runs/images", "--data", "photos", "--draws", "20") == 0
    assert Path("runs/images/discovery.html").is_file()
    assert len(Path("runs/images/codes.csv").read_text().splitlines()) == 1 + 24


def test_a_warning_is_its_text(beside):
    (beside / "photos" / "3.png").write_bytes(b"none")
    skipping = BESIDE.replace("progress=False", "progress=False, on_broken=skip")
    (beside / "mine.py").write_text(skipping.replace("import folder", "import folder, skip"))
    command = [sys.executable, "-m", "pyro_infogan", "train", "mine.py", "--device", "cpu"]
    said = subprocess.run(command, cwd=beside, capture_output=True, text=True, check=True).stderr
    assert "3.png" in said.partition("warning: ")[2]
    assert ".py:" not in said


def test_a_picture_is_called_what_it_is(trained, tmp_path, capsys):
    assert call("sample", trained, "--out", tmp_path / "few.jpg") == 1
    assert "ending in .png" in capsys.readouterr().err
    assert call("reconstruct", trained, "none.png", "--out", tmp_path / "few.gif") == 1
    assert "ending in .png" in capsys.readouterr().err


def test_what_was_measured_is_printed_before_it_is_written(trained, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert call("evaluate", trained, "--draws", "20", "--out", tmp_path / "taken") == 1
    said = capsys.readouterr()
    assert "L_I(digit) = " in said.out
    assert "writing" in said.err


def test_bad_options_are_refused_before_images_are_read(tmp_path, trained, capsys):
    file = tmp_path / "slow.py"
    file.write_text(
        "import pyro.distributions as dist\n"
        "from pyro_infogan.models import Experiment\n"
        "def data(train=True):\n    raise AssertionError('images were read')\n"
        "mine = Experiment({'u': dist.Uniform(-1.0, 1.0)}, (1, 8, 8), data)\n"
    )
    for options in (
        ("--steps", "0"),
        ("--batch-size", "1"),
        ("--save-every", "0"),
        ("--labelled", "5"),
        ("--out", trained),
    ):
        assert call("train", file, *options) == 1
        said = capsys.readouterr().err
        assert "images were read" not in said
        assert options[0].replace("--out", "--resume") in said


def test_errors_of_an_experiment_file_name_their_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("typo.py").write_text("import torch\ntorch.nothing\n")
    assert call("train", "typo.py") == 1
    assert "in line 2" in capsys.readouterr().err
    Path("late.py").write_text(
        "import pyro.distributions as dist\n"
        "from pyro_infogan.models import Experiment\n"
        "def real(path, train=True):\n    return path.nothing\n"
        "mine = Experiment({'u': dist.Uniform(-1.0, 1.0)}, (1, 8, 8), real=real)\n"
        "none = Experiment({'u': dist.Uniform(-1.0, 1.0)}, (1, 8, 8), real=lambda: None)\n"
    )
    assert call("train", "late.py:mine", "--data", ".") == 1
    said = capsys.readouterr().err
    assert "in line 4 of" in said
    assert "Mend it" in said
    assert call("train", "late.py:none", "--data", ".") == 1
    assert "def real(path, train=True)" in capsys.readouterr().err


def test_a_baseline_is_called_what_it_is(trained, tmp_path):
    for options, called in (((), "other"), (("--plain-gan",), "plain GAN")):
        run = tmp_path / f"{called} run" / "other"
        (tmp_path / "mine.py").write_text(EXPERIMENT)
        assert call("train", tmp_path / "mine.py", "--out", run, *options) == 0
        assert measuring._called(run) == called


def test_a_factor_that_follows_what_has_no_traversal_is_left_out(tmp_path, capsys):
    file = tmp_path / "hots.py"
    file.write_text(
        "import pyro.distributions as dist, torch\n"
        "from pyro_infogan.datasets import Factor, ImageSet\n"
        "from pyro_infogan.models import Experiment\n"
        "kinds = torch.arange(40) % 3\n"
        "images = torch.rand(40, 1, 8, 8) * (1 + kinds.view(-1, 1, 1, 1)) / 3\n"
        "hots = dist.OneHotCategorical(torch.ones(3)).expand([2]).to_event(1)\n"
        "mine = Experiment({'hots': hots}, (1, 8, 8),\n"
        "    lambda train: ImageSet(images, factors={'level': Factor(kinds)}),\n"
        "    noise=2, steps=2, batch_size=8)\n"
    )
    assert call("train", file, "--out", tmp_path / "run") == 0
    assert call("figures", tmp_path / "run") == 0
    assert "no picture of level: code 'hots' cannot be traversed" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(trained, capsys):
    assert call("evaluate", trained, "--device", "cuda") == 1
    assert "Use 'cpu'" in capsys.readouterr().err


def test_debug_shows_the_error(tmp_path):
    with pytest.raises(RuntimeError):
        main(["evaluate", str(tmp_path), "--debug"])


def test_help_imports_nothing_heavy():
    code = "import sys, pyro_infogan.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'pyro', 'matplotlib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_training_imports_nothing_that_it_does_not_need():
    code = "import sys\nfrom pyro_infogan import InfoGAN, datasets, families, train\n"
    code += "assert not {'torchvision', 'scipy', 'sklearn', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "pyro_infogan", "--help"], capture_output=True, text=True, check=True
    )
    assert "experiments" in done.stdout
