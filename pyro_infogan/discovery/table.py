"""The codes of every image as a table: CSV, or Parquet where pyarrow is installed."""

import csv
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError
from ..evaluation import Numbers
from ..runs import replace
from .findings import Discovery

__all__ = ["checked_table", "write_codes"]

Columns = Mapping[str, Any]


def _csv(file: BinaryIO, columns: Columns) -> None:
    # A file name need not be Unicode; its bytes are kept as they are.
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    told = [_told(column) for column in columns.values()]
    rows.writerows(zip(*told, strict=True))
    text.flush()
    text.detach()


def _told(column: Any) -> list[Any]:
    """Numbers with seven digits, as float32 has; nothing for one that does not exist."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        return [f"{value:.7g}" if np.isfinite(value) else "" for value in column]
    return list(column)


def _parquet(file: BinaryIO, columns: Columns) -> None:
    arrow, parquet = _pyarrow()
    names = [name.encode("utf-8", "backslashreplace").decode() for name in columns["name"]]
    parquet.write_table(arrow.table({**columns, "name": names}), file)


def _pyarrow() -> tuple[Any, Any]:
    """The optional library, and the part of it that writes.

    Raises:
        DataError: where it is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            "a table of codes as .parquet",
            got="no pyarrow here",
            expected="the optional library",
            fix="Install it: pip install 'pyro-infogan[parquet]'; or name a file .csv.",
        ) from None


_WRITERS = {".csv": _csv, ".parquet": _parquet}


def checked_table(path: Path) -> Path:
    """``path``, if its suffix names a kind of table that can be written here.

    Raises:
        DataError: for another suffix, or Parquet without pyarrow.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if not writer:
        raise DataError(
            "a table of codes",
            got=str(path),
            expected=f"a file ending in {' or '.join(_WRITERS)}",
            fix="Rename it.",
        )
    if writer is _parquet:
        _pyarrow()
    return path


def write_codes(found: Discovery, path: str | Path) -> None:
    """Write what Q reads of every image, a row each, whole or not at all.

    The columns are ``name``, then of each number of a code ``slant.mean`` and ``slant.stddev``, and
    of each category ``digit.category``, the most probable one, and ``digit.probability``.

    Args:
        found: from :func:`~pyro_infogan.discovery.discover`.
        path: the file; its suffix, ``.csv`` or ``.parquet``, says the format.

    Raises:
        DataError: for another suffix, or Parquet without pyarrow.
        RunError: where the folder cannot be written to.
    """
    path = checked_table(Path(path))
    columns: dict[str, Any] = {"name": found.names}
    for label, one in found.inferred.items():
        if isinstance(one, Numbers):
            columns[f"{label}.mean"] = one.mean.numpy()
            columns[f"{label}.stddev"] = one.stddev.numpy()
        else:
            columns[f"{label}.category"] = one.chosen.numpy()
            columns[f"{label}.probability"] = one.probabilities.amax(1).numpy()
    writer = _WRITERS[path.suffix.lower()]
    replace(path, lambda file: writer(file, columns))
