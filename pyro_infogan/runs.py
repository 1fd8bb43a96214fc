"""Run folders: the record of a run, its metrics, and checkpoints that are whole or not there.

::

    runs/mnist/
      run.json           what was run: experiment, declaration, settings, versions
      experiment.py      the user's experiment file, where there was one
      metrics.jsonl      a JSON object a line
      checkpoints/       step-00005000.pt, the newest ones

Nothing read from here runs code, apart from ``experiment.py`` where a declaration needs it.
"""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .errors import RunError

__all__ = ["Run", "part", "read", "replace", "write", "write_text"]

FORMAT = 1
"""Version of the checkpoint's layout."""
KEPT = 2
"""Checkpoints kept in a run folder; one of MNIST's, with Adam's state, takes 160 MB."""


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have a file written beside ``path``, sync it, and put it in place in one move.

    Raises:
        RunError: where the folder cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError.
        raise RunError(
            f"writing {path}",
            got=error,
            expected="a folder with room that can be written to",
            fix="Free space or choose another folder; what was there before is kept.",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        RunError: where the folder cannot be written to.
    """
    replace(path, lambda file: file.write(text.encode()))


def write(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        RunError: where the folder cannot be written to.
    """
    replace(path, lambda file: torch.save({"format": FORMAT, **contents}, file))


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, on the CPU. Runs no code of the file's.

    Raises:
        RunError: for a file that is missing, truncated, or not one of ours.
    """
    if not path.is_file():
        raise RunError(
            "checkpoint", got=f"{path}, which does not exist", expected="a file", fix="Check it."
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types for a damaged file
        raise RunError(
            f"checkpoint {path}",
            got=f"a file that cannot be read ({type(error).__name__})",
            expected="a whole checkpoint",
            fix="It may be truncated; use an earlier one.",
        ) from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise RunError(
            f"checkpoint {path}",
            got="a file of another kind",
            expected=f"an InfoGAN checkpoint of format {FORMAT}",
            fix="It may come from another program or version.",
        )
    return contents


def part(contents: Mapping[str, Any], name: str, path: Path) -> Any:
    """One part of a checkpoint.

    Raises:
        RunError: for a checkpoint without it.
    """
    if name not in contents:
        raise RunError(
            f"checkpoint {path}",
            got=f"parts {sorted(contents)}",
            expected=f"one named {name!r}",
            fix="Resume from a run folder, load from either a run folder or a saved file.",
        )
    return contents[name]


class Run:
    """One run's folder.

    Args:
        folder: the folder, which need not exist yet.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.metrics_file = self.folder / "metrics.jsonl"

    def __str__(self) -> str:
        return str(self.folder)

    # Checkpoints

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Step and file of each checkpoint, oldest first."""
        named = (
            (re.fullmatch(r"step-(\d+)\.pt", path.name), path)
            for path in (self.folder / "checkpoints").glob("step-*.pt")
        )
        return sorted((int(match[1]), path) for match, path in named if match)

    def save(self, step: int, contents: Mapping[str, Any]) -> Path:
        """Write the checkpoint of a step, then drop those older than the newest two.

        Raises:
            RunError: where the folder cannot be written to.
        """
        path = self.folder / "checkpoints" / f"step-{step:08d}.pt"
        write(path, {"step": step, **contents})
        for _, old in self.checkpoints()[:-KEPT]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> tuple[Path, dict[str, Any]]:
        """The newest checkpoint that can be read, and what it holds.

        Warns of each damaged one that it passes over.

        Raises:
            RunError: where there is none.
        """
        damaged = []
        for _, path in reversed(self.checkpoints()):
            try:
                contents = read(path)
            except RunError as error:
                damaged.append(str(error))
                continue
            for message in damaged:
                warnings.warn(f"{message} Using {path} instead.", stacklevel=2)
            return path, contents
        raise RunError(
            f"run folder {self}",
            got=damaged[0] if damaged else "no checkpoint",
            expected="a checkpoint that can be read",
            fix="Check the path, or train first.",
        )

    # The record

    def record(self) -> dict[str, Any] | None:
        """What ``run.json`` says, if it is there.

        Raises:
            RunError: where it cannot be read.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            record, cause = error, error
        else:
            cause = None
        if not isinstance(record, dict):
            raise RunError(
                str(path), got=record, expected="the record of a run", fix="Choose another folder."
            ) from cause
        return record

    def experiment(self) -> str | None:
        """Name of the experiment that the run was declared by, if it was by one."""
        return (self.record() or {}).get("settings", {}).get("experiment")

    def data(self) -> Path | None:
        """Where the run's experiment read its images, if from a path."""
        path = (self.record() or {}).get("data")
        return Path(path) if path else None

    def write_record(self, record: Mapping[str, Any], experiment_file: Path | None = None) -> None:
        """Write ``run.json``, and keep the experiment file where there is one."""
        if experiment_file:
            write_text(self.folder / "experiment.py", experiment_file.read_text())
        write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")

    def experiment_file(self) -> tuple[Path, str | None] | None:
        """The experiment file kept with the run, if any, and the name of the experiment in it."""
        path = self.folder / "experiment.py"
        return (path, self.experiment()) if path.is_file() else None

    # Metrics

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut short by a kill is left out."""
        if not self.metrics_file.is_file():
            return
        for line in self.metrics_file.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line of metrics.

        Raises:
            RunError: where the folder cannot be written to.
        """
        try:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise RunError(
                f"writing {self.metrics_file}",
                got=error,
                expected="a folder with room that can be written to",
                fix="Free space, then go on with --resume.",
            ) from error

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps after ``step``, which a resumed run will write again."""
        if self.metrics_file.is_file():
            kept = [line for line in self.metrics() if line["step"] <= step]
            write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))
