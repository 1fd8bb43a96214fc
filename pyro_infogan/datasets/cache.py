"""Arrays kept on disk, whole or not there, and mapped into memory rather than read.

::

    .photos-64-colour.pyro_infogan/
      cache.json         what it was made from; shape and type of each array
      images.npy         an array

Nothing read from here runs code.
"""

import errno
import json
import math
import mmap
import os
import re
import shutil
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import DataError

if sys.platform != "win32":
    import fcntl

__all__ = ["PASSING", "Writer", "cached", "home", "place_for"]

FORMAT = 1
"""Version of the layout of a cache, and of the order and conversion of what it holds."""
PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
"""Errors of the machine at that moment, not of a file."""
_RECORD = "cache.json"
_PROMISED = (
    "Raise this process's limit of address space (ulimit -v), or the system's of memory that may "
    "be promised (vm.overcommit_memory)."
)
# Without a reservation of memory for pages that may be written to: it would be refused for arrays
# larger than what there is. Python has a name for the flag from 3.13 on.
_COPY_ON_WRITE: Any = (
    {
        "flags": mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000),
        "prot": mmap.PROT_READ | mmap.PROT_WRITE,
    }
    if sys.platform == "linux"
    else {"access": mmap.ACCESS_COPY}
)
_LONG = 120
"""Bytes from which on the name of a folder is shortened in that of its cache."""


def home() -> Path:
    """Where sets that have no folder of their own are kept: ``$PYRO_INFOGAN_CACHE``.

    Without it, ``pyro_infogan`` in the user's cache, ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises:
        DataError: where none of them is set and the user has no home.
    """
    for name, inside in (("PYRO_INFOGAN_CACHE", ""), ("XDG_CACHE_HOME", "pyro_infogan")):
        if own := os.environ.get(name):
            return Path(own) / inside
    try:
        return Path.home() / ".cache" / "pyro_infogan"
    except RuntimeError as error:
        raise DataError(
            "folder for caches",
            got=error,
            expected="the user's home, or another folder",
            fix="Set PYRO_INFOGAN_CACHE to one that can be written to.",
        ) from error


def place_for(source: Path, variant: str, cache: str | Path | None) -> Path:
    """Where the cache of a file or folder is: in the folder ``cache``, or hidden beside it.

    Where ``$PYRO_INFOGAN_CACHE`` is set, or nothing can be written beside it and no cache is there
    yet, it is in :func:`home`.
    """
    source = source.resolve()
    # Many a folder is named "images".
    told_apart = f"{zlib.crc32(os.fsencode(source)):08x}"
    name = source.name
    if len(os.fsencode(name)) > _LONG:
        name = f"{name[: _LONG // 4]}-{told_apart}"
    beside = source.parent / f".{name}-{variant}.pyro_infogan"
    told = os.environ.get("PYRO_INFOGAN_CACHE")
    if cache is None and not told and (os.access(source.parent, os.W_OK) or beside.exists()):
        return beside
    folder = home() if cache is None else Path(cache)
    return folder / f"{name}-{told_apart}-{variant}.pyro_infogan"


class Writer:
    """Makes the arrays of a cache that is being built.

    Args:
        folder: where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, np.memmap] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Zeros on disk, to be filled in place.

        Raises:
            DataError: for a name that is not a word, or a disk without room.
        """
        path = _array_file(self.folder, name)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            if size > sys.maxsize:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
            # The file is a hole as yet. Filling it on a full disk would kill the process (SIGBUS),
            # so the room is taken first.
            if hasattr(os, "posix_fallocate"):
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise _unwritable(
                self.folder.parent, error, f"room for {size / 2**20:,.1f} MiB"
            ) from error
        self.arrays[name] = array
        return array

    def finish(self, key: Any) -> None:
        """Bring all of it to disk, the record last."""
        for name, array in self.arrays.items():
            array.flush()
            with _array_file(self.folder, name).open("rb") as file:
                os.fsync(file.fileno())
        arrays = {
            name: {"shape": list(array.shape), "dtype": array.dtype.str}
            for name, array in self.arrays.items()
        }
        with (self.folder / _RECORD).open("w") as file:
            json.dump({"format": FORMAT, "key": key, "arrays": arrays}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())


def cached(
    place: Path, key: Mapping[str, Any], make: Callable[[Writer], None]
) -> dict[str, np.ndarray]:
    """The arrays of the cache at ``place``, mapped copy-on-write: what is changed stays in memory.

    They are made anew where there are none, where they were made with another ``key``, and where
    any of them is missing, or not of its declared type and size.

    Args:
        place: the cache's folder, which holds nothing else.
        key: what the arrays follow from, as JSON can tell it.
        make: fills the arrays of a :class:`Writer`. Nothing is left behind where it fails.

    Raises:
        DataError: for a place that cannot be written to, has no room, holds other files, or cannot
            be mapped.
    """
    place = place.resolve()
    found = _load(place, key)
    if found is None:
        _build(place, key, make)
        found = _load(place, key)
    if found is None:
        raise DataError(
            f"cache {place}",
            got="arrays that cannot be mapped",
            expected="those that were just written",
            fix="Leave the folder to one process, on a disk that can map files.",
        )
    return found


def _load(place: Path, key: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays, if they are those of ``key``, and whole."""
    try:
        # Another process may be putting its cache in place.
        with _locked(place.parent, exclusive=False):
            record = (place / _RECORD).read_bytes()
            said = json.loads(record)
            if said["format"] != FORMAT or _text(said["key"]) != _text(key):
                return None
            arrays = {name: _mapped(place, name, **about) for name, about in said["arrays"].items()}
            # Where there are no locks it may have done so since.
            return arrays if (place / _RECORD).read_bytes() == record else None
    except Exception as error:  # a damaged file leads to a dozen types
        if isinstance(error, OSError) and error.errno in PASSING:
            # Making it anew, which may have taken hours, would not help.
            raise DataError(
                f"cache {place}",
                got=error,
                expected="arrays that can be mapped",
                fix=_PROMISED if error.errno == errno.ENOMEM else "Try again; it is left as it is.",
            ) from error
        return None


def _text(key: Any) -> str:
    return json.dumps(key, sort_keys=True)


def _mapped(place: Path, name: str, *, shape: list[int], dtype: str) -> np.ndarray:
    """An array, if it is the declared one; another error otherwise."""
    path = _array_file(place, name)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if [list(array.shape), array.dtype.str] != [shape, dtype] or not array.flags.c_contiguous:
        raise ValueError(path)
    if path.stat().st_size != array.offset + array.nbytes:
        raise ValueError(path)
    with path.open("rb") as file:
        held = mmap.mmap(file.fileno(), 0, **_COPY_ON_WRITE)
    return np.ndarray(array.shape, array.dtype, held, array.offset)


def _array_file(folder: Path, name: str) -> Path:
    """The file of an array, which is inside the folder whatever the name."""
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise DataError(
            "array of a cache", got=repr(name), expected="a word of a-z, 0-9, _", fix="Rename it."
        )
    return folder / f"{name}.npy"


def _build(place: Path, key: Mapping[str, Any], make: Callable[[Writer], None]) -> None:
    """Make the arrays in a folder beside, and put it in place once it is whole."""
    _check_replaceable(place)
    beside = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        _sweep(place)
        # A process of the same number may have been killed here, on a disk without locks.
        shutil.rmtree(beside, ignore_errors=True)
        with _begun(beside):
            writer = Writer(beside)
            make(writer)
            writer.finish(key)
            with _locked(place.parent, exclusive=True):
                _swap(beside, place)
    except OSError as error:
        raise _unwritable(place.parent, error, "room") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _begun(folder: Path) -> Iterator[None]:
    """A new folder that no other process sweeps away while it is written."""
    while True:
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            # Another process may have swept it before it was held.
            with suppress(FileNotFoundError):
                stack.enter_context(_locked(folder, exclusive=True))
            if folder.exists():
                yield
                return


@contextmanager
def _locked(folder: Path, *, exclusive: bool, wait: bool = True) -> Iterator[bool]:
    """Hold a folder, alone or with others that do not write; whether it is held.

    The kernel lets go of what a dead process held. Where there are no locks nothing is held.

    Raises:
        FileNotFoundError: where there is no folder, or no longer.
    """
    if sys.platform == "win32":
        yield False
        return
    try:
        place = os.open(folder, os.O_RDONLY)
    except PermissionError:
        yield False
        return
    try:
        try:
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.flock(place, kind if wait else kind | fcntl.LOCK_NB)
        except OSError:
            held = False
        else:
            # Another process may have removed it since, and a third begun one of the same name.
            held = os.path.samestat(os.fstat(place), os.stat(folder))
        yield held
    finally:
        os.close(place)


def _sweep(place: Path) -> None:
    """Remove what processes that were killed left half-built."""
    ours = re.compile(re.escape(place.name) + r"\.\d+-\d+(\.old)?")
    for folder in place.parent.glob("*"):
        if ours.fullmatch(folder.name):
            # One that another process has just finished is gone.
            with (
                suppress(FileNotFoundError),
                _locked(folder, exclusive=True, wait=False) as held,
            ):
                if held:
                    shutil.rmtree(folder, ignore_errors=True)


def _swap(beside: Path, place: Path) -> None:
    """Put the new cache in place of the old. In between there is none, never a part of one.

    Where locks work nobody looks in between.
    """
    old = beside.with_name(f"{beside.name}.old")
    try:
        with suppress(FileNotFoundError):
            place.rename(old)
        beside.rename(place)
    except OSError as error:
        # Another process was faster: its cache is as good.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(place: Path) -> None:
    """Refuse to replace what is not a cache."""
    try:
        files = {path.name for path in place.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(place, error, "room") from error
    arrays = {name for name in files if name.endswith(".npy")}
    if files and files - arrays != {_RECORD}:
        raise DataError(
            f"cache {place}",
            got=f"a folder with {sorted(files - arrays)[:3] or 'arrays, but no record of them'}",
            expected="a cache, or no folder yet",
            fix="Remove it, or keep the cache elsewhere: pass cache=.",
        )


def _unwritable(folder: Path, error: Exception, room: str) -> DataError:
    return DataError(
        f"cache in {folder}",
        got=error,
        expected=f"a folder with {room} that can be written to",
        fix="Free space, or keep the cache elsewhere: set PYRO_INFOGAN_CACHE, or pass cache=.",
    )
