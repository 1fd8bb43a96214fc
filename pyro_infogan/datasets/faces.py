"""Rendered faces."""

import csv
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import DataError
from .folder import folder, part, pictures
from .images import Factor, ImageSet
from .reading import OnBroken, refuse

__all__ = ["faces"]

_TABLE = "factors.csv"
_LARGEST = torch.finfo(torch.float32).max


def faces(
    root: str | Path,
    train: bool = True,
    size: int = 32,
    *,
    on_broken: OnBroken = refuse,
    cache: str | Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """Rendered faces of one's own: 1×size×size, read as :func:`folder` reads them.

    The paper's are renderings of the Basel Face Model (Paysan et al., 2009), whose licence forbids
    handing them on, so that there is no set of them to fetch. Beside the images there may be a
    table ``factors.csv`` of what they were rendered with; each of its columns is a factor::

        file,azimuth,elevation,light
        a/0001.png,-0.35,0.1,0.8

    Args:
        root: folder of the images.
        train: all but the last tenth of the images, or the last tenth.
        size: height and width of the images.
        on_broken: what to do about files that cannot be read, as of :func:`folder`.
        cache: another folder to keep the images in.
        progress: whether to show a bar while reading.

    Raises:
        DataError: as :func:`folder`; and for a table with cells that are not finite numbers, files
            that are not there, or not one row for each image.
    """
    every = folder(root, size, grey=True, on_broken=on_broken, cache=cache, progress=progress)
    table = Path(root) / _TABLE
    if table.exists():
        every = ImageSet(every.images, factors=_factors(table, every.names), names=every.names)
    return part(every, train)


def _factors(table: Path, names: Sequence[str]) -> dict[str, Factor]:
    """The columns of a table, in the order of the images' names."""

    def refused(got: object, expected: str) -> DataError:
        return DataError(str(table), got=got, expected=expected, fix="Mend the table.")

    rows: dict[str, list[float]] = {}
    # One that cannot be read, and is left out, may have its line.
    known = set(pictures(table.parent))
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if (
                "file" not in columns
                or len(set(columns) - {""}) != len(columns)
                or len(columns) < 2
            ):
                raise refused(
                    f"columns {columns}", "one named file, and others, each with its own name"
                )
            place = columns.index("file")
            columns.pop(place)
            for row in filter(None, reader):
                line = f"line {reader.line_num}: {','.join(row)}"
                name = row.pop(place) if place < len(row) else ""
                if name not in known:
                    raise refused(line, f"an image of {table.parent}, not {name!r}")
                if name in rows:
                    raise refused(line, f"one line of {name!r}, not two")
                rows[name] = _numbers(row)
                if len(rows[name]) != len(columns):
                    raise refused(line, f"finite numbers for {', '.join(columns)}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise refused(error, "a table in UTF-8, with commas") from error
    if missing := [name for name in names if name not in rows]:
        raise refused(
            f"no line for {len(missing)} images, such as {missing[0]}", "one for each image"
        )
    values = torch.tensor([rows[name] for name in names])
    return {name: Factor(values[:, index]) for index, name in enumerate(columns)}


def _numbers(cells: list[str]) -> list[float]:
    """The cells, if all of them are finite numbers, also in 32 bits; none otherwise."""
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return []
    return numbers if all(abs(number) <= _LARGEST for number in numbers) else []
