"""The project itself: who imports whom, what is public, and that its examples run."""

import ast
import csv
import importlib
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_infogan
from pyro_infogan.errors import DataError, DeclarationError, DivergenceError, InfoGANError, RunError

ROOT = Path(pyro_infogan.__file__).parent
EXAMPLES = ROOT.parent / "examples"

LEAVES = {"errors", "modes", "randomness"}
CORE = LEAVES | {"codes", "descriptions", "devices", "images"}
# Rooms, from the ground up, and what each may import besides itself.
ALLOWED = {
    "errors": set(),
    "modes": set(),
    "randomness": {"errors"},
    "codes": LEAVES,
    "descriptions": LEAVES,
    "devices": LEAVES,
    "distributed": LEAVES | {"devices"},
    "images": LEAVES,
    "runs": LEAVES,
    "inference": LEAVES | {"codes"},
    "datasets": LEAVES | {"devices", "images"},
    # Experiment files declare with codes, objectives and data.
    "models": LEAVES | {"codes", "devices", "inference", "datasets"},
    "declarations": CORE | {"runs", "inference", "models"},
    "infogan": CORE | {"runs", "inference", "models", "declarations"},
    "traversal": CORE | {"infogan"},
    "animation": CORE | {"runs", "infogan", "traversal"},
    "watch": CORE | {"infogan"},
    "callbacks": CORE | {"infogan", "traversal"},
    "training": CORE
    | {"distributed", "runs", "inference", "infogan", "datasets", "watch", "callbacks"},
    "evaluation": CORE | {"inference", "infogan", "datasets"},
    "inversion": CORE | {"inference", "infogan"},
    "controls": LEAVES | {"codes"},
    "export": CORE | {"runs", "inference", "infogan", "datasets", "controls"},
    "figures": CORE | {"runs", "infogan", "evaluation", "traversal", "animation"},
    "pages": CORE | {"inference", "infogan", "evaluation", "figures"},
    "discovery": CORE
    | {"runs", "inference", "infogan", "datasets", "evaluation", "traversal", "pages"},
    "report": CORE | {"runs", "infogan", "evaluation", "figures", "traversal", "pages"},
    "explorer": CORE | {"controls", "infogan", "datasets", "evaluation", "inversion", "pages"},
}


def imports_of(file):
    """Rooms of the package that a module imports, type checking aside."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    depth = len(file.relative_to(ROOT).parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("pyro_infogan"), "imports are relative"
            if node.level == depth:
                yield from (
                    [node.module.split(".")[0]]
                    if node.module
                    else [alias.name for alias in node.names]
                )


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_go_one_way(room):
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else (ROOT / room).rglob("*.py")
    for file in files:
        assert set(imports_of(file)) <= ALLOWED[room], file


def test_every_module_has_a_room():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__main__", "__pycache__", "cli", "py"} == set(ALLOWED)


def test_submodules_import_alone():
    names = [
        "pyro_infogan." + ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in ROOT.rglob("*.py")
        if file.stem not in ("__init__", "__main__")
    ]
    # Backwards, so that no module leans on one that happened to be imported before it.
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    subprocess.run([sys.executable, "-W", "error", "-c", code, *sorted(names)[::-1]], check=True)


def test_public_names_are_there():
    for name in pyro_infogan.__all__:
        assert getattr(pyro_infogan, name) is not None
        assert name in dir(pyro_infogan)
    with pytest.raises(AttributeError, match="nothing"):
        _ = pyro_infogan.nothing
    for module in ("codes", "inference", "models", "datasets", "evaluation", "runs", "training"):
        home = importlib.import_module(f"pyro_infogan.{module}")
        for name in home.__all__:
            assert hasattr(home, name), (module, name)


@pytest.mark.parametrize(
    ("kind", "built_in"),
    [
        (DataError, ValueError),
        (DeclarationError, ValueError),
        (RunError, RuntimeError),
        (DivergenceError, RunError),
    ],
)
def test_errors_can_be_caught_as_pythons_own(kind, built_in):
    error = kind("thing", got=1, expected=2, fix="Change it.")
    assert isinstance(error, built_in)
    assert isinstance(error, InfoGANError)
    assert str(error.within("place")) == "place, thing: got 1, expected 2. Change it."


def run_experiment(name, *experiments):
    def run(tmp_path):
        from pyro_infogan.cli import main

        file = str(EXAMPLES / f"{name}.py")
        for experiment in experiments or (None,):
            out = str(tmp_path / f"run-{experiment}")
            reference = f"{file}:{experiment}" if experiment else file
            main(["train", reference, "--steps", "2", "--batch-size", "16", "--out", out])
            main(["evaluate", out, "--draws", "100"])

    return run


def run_train_mnist(tmp_path):
    runpy.run_path(str(EXAMPLES / "train_mnist.py"))["main"](steps=2)


def run_every_code(tmp_path):
    del tmp_path
    found = runpy.run_path(str(EXAMPLES / "every_code.py"))["main"]()
    assert all(info.bound <= 4 * info.error + 1e-4 for info in found.values())


def run_two_programs(tmp_path):
    runpy.run_path(str(EXAMPLES / "two_programs.py"))["main"]()


def run_rendered_sets(tmp_path):
    runpy.run_path(str(EXAMPLES / "rendered_sets.py"))["main"](rows=1, columns=2)


def run_callback_csv(tmp_path):
    lines = runpy.run_path(str(EXAMPLES / "callback_csv.py"))["main"](steps=12)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("step", "loss_d", "loss_g", "info/digit", "images_per_s")
    found = [{name: float(value) for name, value in row.items()} for row in rows]
    assert found == [{name: line[name] for name in columns} for line in lines]


def run_few_labels(tmp_path):
    runpy.run_path(str(EXAMPLES / "few_labels.py"))["main"](steps=2)


def run_own_images(tmp_path):
    from PIL import Image

    from pyro_infogan.cli import main

    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(20):
        Image.new("RGB", (70, 80), (10 * index, 100, 200)).save(folder / f"{index}.jpg")
    command = ["train", str(EXAMPLES / "own_images.py"), "--data", str(folder)]
    main([*command, "--steps", "1", "--batch-size", "4", "--out", str(tmp_path / "run")])
    main(["evaluate", str(tmp_path / "run"), "--draws", "20"])


RUNS = {
    "callback_csv": run_callback_csv,
    "every_code": run_every_code,
    "few_labels": run_few_labels,
    "own_images": run_own_images,
    "code_program": run_experiment("code_program", "dependent", "learned"),
    "joint_posterior": run_experiment("joint_posterior", "together", "guided"),
    "own_codes": run_experiment("own_codes"),
    "own_posterior": run_experiment("own_posterior"),
    "rendered_sets": run_rendered_sets,
    "train_mnist": run_train_mnist,
    "two_programs": run_two_programs,
}


@pytest.mark.parametrize("name", RUNS)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path / "cache"))
    RUNS[name](tmp_path)


def test_every_example_is_run():
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(RUNS)
