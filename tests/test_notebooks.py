"""The notebooks: that they run as committed, and that what is committed is fit to be read."""

import itertools
import re
import resource
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import pyro_infogan

FOLDER = Path(pyro_infogan.__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000
"""Bytes of a notebook with its pictures."""
LONGEST = 60
"""Seconds of computing, which a busy machine does not stretch as it does the time of day."""
MACHINE = re.compile(r"(?<![\w.])(/(home|root|Users|tmp|var|usr|opt|mnt|work|private)/|[A-Z]:\\)")

# Matplotlib reads tensors through torch's __array__, which numpy finds old: no notebook's fault.
STRICT = """import warnings
warnings.filterwarnings("ignore", message="__array__ implementation")
warnings.filterwarnings("error", append=True)
"""

each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """Everything in a cell that a person reads; the bytes of pictures may spell anything."""
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield from (
            str(value)
            for kind, value in output.get("data", {}).items()
            if not kind.startswith("image/")
        )


def shape(cell):
    """What a cell put out, without the numbers; the kernel may send a text in several pieces."""
    kinds = [
        (output.output_type, output.get("name"), sorted(output.get("data", {})))
        for output in cell.outputs
    ]
    return [kind for kind, _ in itertools.groupby(kinds)]


class ThisPython(AsyncKernelManager):
    """Kernels of the interpreter that runs the test, whatever others are installed."""

    def _kernel_spec_manager_default(self):
        # Without folders to look in, Jupyter is left with its own interpreter.
        return KernelSpecManager(kernel_dirs=[])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Executes a notebook in an empty folder, warnings as errors, without anyone's settings."""
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "strict.py").write_text(STRICT)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(notebook):
        resources = {"metadata": {"path": str(empty)}}
        NotebookClient(
            notebook,
            timeout=600,
            kernel_manager_class=ThisPython,
            resources=resources,
        ).execute()
        assert list(empty.iterdir()) == []

    return run


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_kernel_is_this_python_and_strict(run):
    source = "import sys, warnings; print(sys.executable, warnings.filters[-1][0])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    run(notebook)
    assert notebook.cells[0].outputs[0].text.split() == [sys.executable, "error"]


@each_notebook
def test_runs(file, run):
    """Every cell, in order; the outputs are of the committed kinds."""
    notebook = nbformat.read(file, as_version=4)
    committed = [shape(cell) for cell in code_cells(notebook)]
    before = seconds_of_children()
    run(notebook)
    assert seconds_of_children() - before < LONGEST
    assert [shape(cell) for cell in code_cells(notebook)] == committed


@each_notebook
def test_is_committed_with_its_outputs(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert all(output.output_type != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    assert file.stat().st_size < LARGEST


@each_notebook
def test_says_nothing_of_the_machine_it_ran_on(file):
    notebook = nbformat.read(file, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata.language_info) == {"name"}
    assert all(cell.metadata == {} for cell in notebook.cells)
    for cell in notebook.cells:
        for text in texts(cell):
            assert not MACHINE.search(text), text


def test_there_are_notebooks():
    assert NOTEBOOKS
