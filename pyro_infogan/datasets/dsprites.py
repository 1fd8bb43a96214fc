"""dSprites."""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
from tqdm import tqdm

from ..errors import DataError
from .cache import Writer, cached, place_for
from .folder import part
from .images import Factor, ImageSet

__all__ = ["dsprites"]

_MOST = 737_280
"""Images of the published set: nothing larger is unpacked."""
_SIDE = 64
_LATENTS = 6
_SHAPES = 3
_NUMBERS = ("scale", "orientation", "x", "y")
"""The latents after colour, which is always white, and shape."""
_PERIODS = {"orientation": 2 * math.pi}
_CHUNK = 4_096
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def dsprites(
    path: str | Path,
    train: bool = True,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """White squares, ellipses and hearts on black (Matthey et al., 2017): 1×64×64.

    Factors: ``shape``, kinds 0 to 2 in the order above; ``scale``, ``x`` and ``y``; and
    ``orientation`` in radians, which turns round a circle. Of a square it repeats after a quarter
    of the circle already, and of an ellipse after half.

    The file is unpacked once into a cache beside it, of 3 GB; later that is mapped. The images are
    in a fixed pseudo-random order there, so that any slice is a fair sample.

    Args:
        path: ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, as published.
        train: all but the last tenth of the 737,280 images, or the last tenth.
        cache: another folder to keep the images in.
        progress: whether to show a bar while unpacking.

    Raises:
        DataError: for a file that is missing, damaged or another, or a cache that cannot be
            written.
    """
    path = Path(path)

    def make(writer: Writer) -> None:
        with _told(path), zipfile.ZipFile(path) as archive:
            _unpack(archive, writer, progress)

    with _told(path):
        about = path.stat()
    key = {"set": "dsprites", "size": about.st_size, "changed": about.st_mtime_ns}
    arrays = cached(place_for(path, str(_SIDE), cache), key, make)
    numbers = torch.from_numpy(arrays["numbers"])
    factors = {"shape": Factor(torch.from_numpy(arrays["shape"]))} | {
        name: Factor(numbers[:, index], _PERIODS.get(name)) for index, name in enumerate(_NUMBERS)
    }
    return part(ImageSet(torch.from_numpy(arrays["images"]), factors=factors), train)


def _unpack(archive: zipfile.ZipFile, writer: Writer, progress: bool) -> None:
    """Write the images and what they show, in another order. The pickled metadata is let be."""
    with _member(archive, "latents_classes", (_LATENTS,), "iu") as classes:
        kinds = classes.read(classes.rows)[:, 1]
    with _member(archive, "latents_values", (_LATENTS,), "f") as values:
        numbers = values.read(values.rows)[:, 2:]
    with _member(archive, "imgs", (_SIDE, _SIDE), "u") as imgs:
        if not imgs.rows == len(kinds) == len(numbers) or imgs.dtype != np.uint8:
            raise ValueError(
                f"{imgs.rows} images {imgs.dtype}, {len(kinds)} and {len(numbers)} rows"
            )
        if not np.isin(kinds, range(_SHAPES)).all():
            raise ValueError(f"shapes {kinds.min()} to {kinds.max()}")
        if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
            raise ValueError("a latent value that is not finite")
        # Of numpy's generators this is the one whose stream is promised not to change.
        place = np.random.RandomState(0).permutation(imgs.rows)
        writer.array("shape", kinds.shape, np.int64)[place] = kinds
        writer.array("numbers", numbers.shape, np.float32)[place] = numbers
        images = writer.array("images", (imgs.rows, 1, _SIDE, _SIDE), np.uint8)
        bar = tqdm(total=imgs.rows, disable=not progress, dynamic_ncols=True, unit="image")
        with bar:
            for some in np.split(place, range(_CHUNK, imgs.rows, _CHUNK)):
                bits = imgs.read(len(some))
                if bits.max() > 1:
                    raise ValueError(f"a pixel of {bits.max()}")
                images[some, 0] = bits * np.uint8(255)
                bar.update(len(some))


class _Member:
    """An array in the archive, read some rows at a time.

    Args:
        stream: the member, from its first byte.
        name: of the array.
        size: bytes that the archive declares.
        row: shape of a row.
        kinds: of numpy's kinds of type, those that it may have.

    Raises:
        ValueError: for an array that is larger than the published one, or not as declared; before
            anything is allocated for it.
    """

    def __init__(
        self, stream: IO[bytes], name: str, size: int, row: tuple[int, ...], kinds: str
    ) -> None:
        header = _HEADERS[np.lib.format.read_magic(stream)](stream)
        shape, by_columns, self.dtype = header
        self.stream, self.row = stream, row
        self.rows = shape[0] if shape else 0
        self.bytes = math.prod(row) * self.dtype.itemsize
        fits = shape[1:] == row and 0 < self.rows <= _MOST and not by_columns
        whole = stream.tell() + self.rows * self.bytes == size
        if not (fits and whole and self.dtype.kind in kinds):
            raise ValueError(f"{name} of {shape}, {self.dtype}, in {size} bytes")

    def read(self, rows: int) -> np.ndarray:
        """The next ``rows``."""
        data = self.stream.read(rows * self.bytes)
        return np.frombuffer(data, self.dtype).reshape(rows, *self.row)


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, row: tuple[int, ...], kinds: str
) -> Iterator[_Member]:
    """An array of the archive, opened."""
    about = archive.getinfo(f"{name}.npy")
    with archive.open(about) as stream:
        yield _Member(stream, name, about.file_size, row, kinds)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of reading the file, as one that says which file was expected."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged archive leads to a dozen types
        raise DataError(
            f"dSprites {path}",
            got=f"{type(error).__name__}: {error}",
            expected="the published dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
            fix="Fetch it from github.com/google-deepmind/dsprites-dataset.",
        ) from error
