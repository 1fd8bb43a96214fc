"""What a table beside the pictures of a folder says of them."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from .images import Factor

__all__ = ["LABEL", "TABLE", "read_known"]

TABLE = "factors.csv"
"""The table's name, in the folder itself."""
LABEL = "label"
"""The column whose kinds are labels, not a factor."""

_LARGEST = torch.finfo(torch.float32).max


def read_known(
    root: Path, pictures: Collection[str], names: Sequence[str]
) -> tuple[dict[str, Factor], Tensor | None]:
    """Factors, and labels where the table has a column of them, in the order of the names.

    Args:
        root: the folder. Without a table nothing is known.
        pictures: every picture in it.
        names: those that are kept.

    Raises:
        DataError: for a table that is not one line for each picture, or a column that is neither
            numbers nor words.
    """
    table = root / TABLE
    if not table.exists():
        return {}, None
    columns, lines = _lines(table, pictures)
    if missing := [name for name in names if name not in lines]:
        raise _refused(
            table, f"no line for {len(missing)} images, such as {missing[0]}", "one for each image"
        )
    cells = dict(zip(columns, zip(*(lines[name] for name in names), strict=True), strict=True))
    told = cells.pop(LABEL, None)
    factors = {name: Factor(_values(table, name, column)) for name, column in cells.items()}
    return factors, None if told is None else _labels(told)


def _refused(table: Path, got: object, expected: str) -> DataError:
    return DataError(str(table), got=got, expected=expected, fix="Mend the table.")


def _lines(table: Path, pictures: Collection[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The table's columns but for that of the files, and the cells of each file."""
    lines: dict[str, list[str]] = {}
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if (
                "file" not in columns
                or len(set(columns) - {""}) != len(columns)
                or len(columns) < 2
            ):
                raise _refused(
                    table,
                    f"columns {columns}",
                    "one named file, and others, each with its own name",
                )
            place = columns.index("file")
            columns.pop(place)
            for row in filter(None, reader):
                line = f"line {reader.line_num}: {','.join(row)}"
                name = row.pop(place) if place < len(row) else ""
                if name not in pictures:
                    raise _refused(table, line, f"an image of {table.parent}, not {name!r}")
                if name in lines:
                    raise _refused(table, line, f"one line of {name!r}, not two")
                if len(row) != len(columns):
                    raise _refused(table, line, f"a cell for each of {', '.join(columns)}")
                lines[name] = [cell.strip() for cell in row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(table, error, "a table in UTF-8, with commas") from error
    return columns, lines


def _values(table: Path, name: str, column: Sequence[str]) -> Tensor:
    """Floats of a column of numbers; of a column of words, their places in the alphabet."""
    numbers = [_number(cell) for cell in column]
    if all(number is None for number in numbers) and all(column):
        return _places(column)
    for cell, number in zip(column, numbers, strict=True):
        if number is None or not abs(number) <= _LARGEST:
            raise _refused(
                table, f"{cell!r} in column {name}", "finite numbers for every image, or words"
            )
    return torch.tensor(numbers)


def _labels(column: Sequence[str]) -> Tensor:
    """Whole numbers as they are, words by their places in the alphabet; −1 of an empty cell."""
    if all(cell.isdecimal() for cell in column if cell):
        return torch.tensor([int(cell) if cell else -1 for cell in column])
    return _places(column)


def _places(words: Sequence[str]) -> Tensor:
    """Where each word stands among them all in the alphabet; −1 of an empty one."""
    places = {word: place for place, word in enumerate(sorted({*words} - {""}))} | {"": -1}
    return torch.tensor([places[word] for word in words])


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
