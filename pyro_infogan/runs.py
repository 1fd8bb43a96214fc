"""Run folders: the record of a run, its metrics, and checkpoints that are whole or not there.

::

    runs/mnist/
      run.json           what was run: experiment, declaration, settings, versions
      experiment.py      the user's experiment file, where there was one
      metrics.jsonl      a JSON object a line
      checkpoints/       step-00005000.pt, the newest ones
      train.lock         held by the process that trains here, and by none that is dead

Nothing read from here runs code, apart from ``experiment.py``, where its images are wanted or a
declaration needs it.

A checkpoint is a file of ``torch.save``, plain data and tensors, and behind it a line with the
SHA-256 of what stands before. Before anything of it is built, the checksum is compared, every size
that the file declares is held against the bytes that are there, and its pickle is searched for
anything but containers, numbers, text and tensors.
"""

import errno
import hashlib
import json
import os
import pickletools
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import torch

from .errors import RunError, TrainingWarning

if sys.platform != "win32":
    import fcntl

__all__ = ["Run", "part", "read", "replace", "write", "write_text"]

FORMAT = 2
"""Version of the checkpoint's layout; 1 had no checksum of its own, and is read as well."""
KEPT = 2
"""Checkpoints kept in a run folder; one of MNIST's, with Adam's state, takes 160 MB."""

# Hexadecimal, so that no digest can look like a part of the archive before it.
_TRAILER = re.compile(rb"\npyro_infogan sha256 ([0-9a-f]{64})\n")
_TRAILER_BYTES = len(b"\npyro_infogan sha256 ") + 64 + 1
_CHUNK = 1 << 20
# Far beyond what a declaration and the weights of its networks count. A pickle may name one list
# many times, and lists of such lists grow without bound where they are printed or compared.
_MOST_PARTS = 1_000_000
_GLOBALS = re.compile(
    r"collections OrderedDict|torch._utils _rebuild_(tensor_v2|tensor_v3|parameter)"
    r"|torch (\w*Storage|Size|u?int\d+|b?float\d+\w*|bool)|torch.storage UntypedStorage"
)


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have a file written beside ``path``, sync it, and put it in place in one move.

    Raises:
        RunError: where the folder cannot be written to.
    """
    beside = path.parent / f".{path.name}.{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, IsADirectoryError):
            raise RunError(
                f"writing {path}", got="a folder", expected="a file, new or not", fix="Name one."
            ) from error
        # Torch has errors of its own, and a path with a NUL is a ValueError.
        raise RunError(
            f"writing {path}",
            got=error,
            expected="a folder with room that can be written to",
            fix="Free space or choose another folder; what was there before is kept.",
        ) from error
    finally:
        with suppress(OSError, ValueError):
            beside.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk, where the system lets folders be opened."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        RunError: where the folder cannot be written to.
    """
    replace(path, lambda file: file.write(text.encode()))


def write(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a checkpoint and its checksum, whole or not at all.

    Raises:
        RunError: where the folder cannot be written to.
    """

    def save(file: BinaryIO) -> None:
        summed = _Summed(file)
        try:
            torch.save({"format": FORMAT, **contents}, cast(Any, summed))
        except RuntimeError as error:
            # Torch says at which byte it stopped, and not why.
            raise summed.failure or error from error
        file.write(b"\npyro_infogan sha256 %s\n" % summed.digest.hexdigest().encode())

    replace(path, save)


class _Summed:
    """A file that is only written to, with the SHA-256 of what went by."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self.file.flush()


def read(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, on the CPU. Runs no code of the file's, and builds nothing of it.

    The tensors are mapped from the file copy-on-write.

    Raises:
        RunError: for a file that is missing, truncated, damaged, or not one of ours.
    """
    if not path.is_file():
        raise RunError(
            "run",
            got=f"{path}, which does not exist",
            expected="a run folder, or a file that an InfoGAN was saved to",
            fix="Check the path, or train first.",
        )
    try:
        with path.open("rb") as file:
            summed = _checked_sum(file, path)
            _check_archive(file, path, summed)
        # Mapped, since a tensor that is not can claim more bytes than its record has.
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _check_parts(contents, path)
    except RunError:
        raise
    except Exception as error:  # torch raises a dozen types for a damaged file
        raise _unreadable(path, f"a file that cannot be read ({type(error).__name__})") from error
    version = contents.get("format") if isinstance(contents, dict) else None
    if version not in (1, FORMAT):
        raise RunError(
            f"checkpoint {path}",
            got="a file of another kind",
            expected=f"an InfoGAN checkpoint of format {FORMAT}",
            fix="It may come from another program or version.",
        )
    # A flipped bit may hide the checksum, but not that there has to be one.
    if summed != (version == FORMAT):
        raise _unreadable(path, "a file that cannot be read (no checksum)")
    return contents


def _unreadable(path: Path, got: str) -> RunError:
    return RunError(
        f"checkpoint {path}",
        got=got,
        expected="a whole checkpoint",
        fix="It may be truncated or damaged; use an earlier one.",
    )


def _checked_sum(file: BinaryIO, path: Path) -> bool:
    """Whether the file has a checksum, which is then the right one."""
    size = file.seek(0, os.SEEK_END)
    left = max(0, size - _TRAILER_BYTES)
    file.seek(left)
    trailer = _TRAILER.fullmatch(file.read())
    if not trailer:
        return False
    digest = hashlib.sha256()
    file.seek(0)
    while left:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
    if digest.hexdigest().encode() != trailer[1]:
        raise _unreadable(path, "a file that cannot be read (another checksum)")
    return True


def _check_archive(file: BinaryIO, path: Path, summed: bool) -> None:
    """Refuse an archive that declares more than it holds, or more than data and tensors."""
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        size = file.seek(0, os.SEEK_END)
        stored = all(
            record.compress_type == zipfile.ZIP_STORED
            and record.file_size == record.compress_size
            and 0 <= record.header_offset < size
            for record in records
        )
        if not stored or sum(record.file_size for record in records) > size:
            raise _unreadable(path, "an archive that unpacks to more than it is")
        # The checksums of the records are all that a file of format 1 has.
        damaged = None if summed else archive.testzip()
        if damaged:
            raise _unreadable(path, f"a file that cannot be read ({damaged})")
        for record in records:
            if record.filename.endswith("/data.pkl"):
                _check_pickle(archive.read(record), path)


def _check_pickle(pickled: bytes, path: Path) -> None:
    """Refuse whatever is not of containers, numbers, text and tensors.

    The unpickler of torch runs no code either, but lets a file ask for a bytearray of any size.
    """
    for operation, argument, _ in pickletools.genops(pickled):
        foreign = operation.name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument))
        if foreign or operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise _unreadable(path, f"a file that cannot be read ({operation.name} {argument})")


def _check_parts(contents: Any, path: Path) -> None:
    """Refuse containers that hold one another so often that there is no end to them."""
    left = [contents]
    for _ in range(_MOST_PARTS):
        if not left:
            return
        found = left.pop()
        if isinstance(found, Mapping):
            left += [*found.keys(), *found.values()]
        elif isinstance(found, list | tuple | set):
            left += found
        if len(left) > _MOST_PARTS:
            break
    raise _unreadable(path, "contents without end")


def part(contents: Mapping[str, Any], name: str, path: Path) -> Any:
    """One part of a checkpoint.

    Raises:
        RunError: for a checkpoint without it.
    """
    if name not in contents:
        raise RunError(
            f"checkpoint {path}",
            got=f"parts {list(contents)}",
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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training into the folder, which is made if it is not there.

        The kernel holds the lock for the process and lets go of it when that dies, however it does.
        What a killed writer left half-written is removed.

        Raises:
            RunError: for a folder that cannot be made, or where another process trains.
        """
        try:
            (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "train.lock").open("a")
        except (OSError, ValueError) as error:
            _refuse_folder(self.folder, error)
        with lock:
            if sys.platform != "win32":
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise RunError(
                        f"run folder {self}",
                        got="a folder that another process trains into",
                        expected="one process at a time",
                        fix="Wait for it or stop it, or choose another folder with --out (out=).",
                    ) from error
                except OSError as error:
                    if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                        _refuse_folder(self.folder, error)
                    warnings.warn(
                        f"{self.folder} is on a disk without locks: keep other processes out of it",
                        TrainingWarning,
                        stacklevel=3,
                    )
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what killed writers left of files that only training writes."""
        checkpoints = (self.folder / "checkpoints").glob(".step-*.pt.*")
        records = (
            path
            for name in ("run.json", "metrics.jsonl", "experiment.py")
            for path in self.folder.glob(f".{name}.*")
        )
        for path in (*checkpoints, *records):
            if path.suffix[1:].isdigit():
                with suppress(OSError):
                    path.unlink()

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
            RunError: where the folder is gone or cannot be written to.
        """
        path = self.folder / "checkpoints" / f"step-{step:08d}.pt"
        try:
            # The metrics first: a checkpoint must not outlive the lines before it.
            if self.metrics_file.exists():
                with self.metrics_file.open("rb") as file:
                    os.fsync(file.fileno())
            os.stat(path.parent)
        except OSError as error:
            _refuse_folder(self.folder, error)
        write(path, {"step": step, **contents})
        # A later one can only be a damaged one that was passed over: it counts for nothing.
        for _, old in [known for known in self.checkpoints() if known[0] <= step][:-KEPT]:
            with suppress(OSError):
                old.unlink()
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
            record = json.loads(path.read_bytes())
            good = isinstance(record["declaration"], dict)
            settings = record["settings"]
            names = (settings.get("experiment"), record.get("data"), record.get("experiment_file"))
            if not good or not all(isinstance(name, str | None) for name in names):
                raise TypeError("parts of other types")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                str(path),
                got=f"{type(error).__name__}: {error}",
                expected="the record of a run",
                fix="Choose another folder.",
            ) from error
        return record

    def check_new(self) -> None:
        """Refuse a folder that holds a run already.

        Raises:
            RunError: for one, or a record that cannot be read.
        """
        if self.record() is not None:
            raise RunError(
                f"run folder {self}",
                got="a run that is already there",
                expected="a new folder, or leave to go on",
                fix="Add --resume (resume=True), or choose another folder with --out (out=).",
            )

    def experiment(self) -> str | None:
        """Name of the experiment that the run was declared by, if it was by one."""
        record = self.record()
        return record["settings"].get("experiment") if record else None

    def data(self) -> Path | None:
        """Where the run's experiment read its images, if from a path."""
        path = (self.record() or {}).get("data")
        return Path(path) if path else None

    def write_record(self, record: Mapping[str, Any], experiment_file: Path | None = None) -> None:
        """Write ``run.json``, and keep the experiment file where there is one."""
        if experiment_file:
            # Bytes: Python lets a file say its own encoding.
            source = experiment_file.read_bytes()
            replace(self.folder / "experiment.py", lambda file: file.write(source))
        write_text(self.folder / "run.json", json.dumps(record, indent=2) + "\n")

    def experiment_file(self) -> tuple[Path, str | None, Path | None] | None:
        """The experiment file kept with the run, if any, its experiment's name, and its origin."""
        path = self.folder / "experiment.py"
        if not path.is_file():
            return None
        origin = (self.record() or {}).get("experiment_file")
        return path, self.experiment(), Path(origin) if origin else None

    # Metrics

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a last line cut short by a kill is left out.

        Raises:
            RunError: for a file that cannot be read, or whose lines are not those of a run.
        """
        if not self.metrics_file.is_file():
            return
        try:
            lines = self.metrics_file.read_bytes().split(b"\n")
        except OSError as error:
            _refuse_folder(self.folder, error)
        # What stands behind the last end of a line was never finished.
        for number, line in enumerate(lines[:-1], start=1):
            try:
                found = json.loads(line)
                good = isinstance(found["step"], int)
                good = good and all(isinstance(value, int | float) for value in found.values())
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                found, good = None, False
            if not good or found is None:
                raise RunError(
                    f"{self.metrics_file}, line {number}",
                    got=repr(line[:60]),
                    expected="an object with a step and numbers",
                    fix="Remove the line, or the file's end from there on.",
                )
            yield found

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
                fix="Free space, then go on with --resume (resume=True).",
            ) from error

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps after ``step``, which a resumed run will write again."""
        if self.metrics_file.is_file():
            kept = [line for line in self.metrics() if line["step"] <= step]
            write_text(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))


def _refuse_folder(folder: Path, error: OSError | ValueError) -> NoReturn:
    raise RunError(
        f"run folder {folder}",
        got=error,
        expected="a folder that can be written to",
        fix="Bring it back or free space and go on with --resume (resume=True), or choose another.",
    ) from error
