"""Picture files as bytes: one by one, and by the hundred thousand into a cache."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ..errors import DataError, in_short
from .cache import PASSING, Writer, cached

__all__ = [
    "OnBroken",
    "digest",
    "middle",
    "opened",
    "pixels",
    "read_all",
    "read_image",
    "refuse",
    "skip",
    "suffixes",
]

_MODES = {1: "L", 3: "RGB"}
# EPS is a program, which Pillow has Ghostscript run; of the others it knows no more than the name.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_SHOWN = 10

OnBroken = Callable[[Sequence[DataError]], None]
"""What to do about files that cannot be read: :func:`refuse`, :func:`skip` or another function."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _NO_PICTURES))


@cache
def suffixes() -> frozenset[str]:
    """Suffixes of the files that Pillow reads as pictures, in lower case and with their dot."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in _formats())


def opened(path: Path, channels: int) -> Image.Image:
    """A picture as a person would see it, grey (1 channel, mode L) or colour (3, RGB).

    It is turned upright as its EXIF orientation says. What is transparent shows white, as on a
    page: the colour stored there is arbitrary, most often black. Palettes are looked up, a bit is 0
    or 255, CMYK becomes RGB without a colour profile, and grey is the luma of ITU-R 601. Of an
    animation it is the first frame; of 16 bits a channel in colour Pillow gives the upper 8.

    Raises:
        DataError: for a file that is missing, broken, so large that decoding it could exhaust
            memory, or grey of more than 8 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_formats()) as file:
                if file.mode.startswith(("I", "F")):
                    raise DataError(
                        f"image {path}",
                        got=f"mode {file.mode}",
                        expected="8 bits a channel",
                        fix="Convert it first: only you know which range is black to white.",
                    )
                _halve_transparency(file)
                image = ImageOps.exif_transpose(file)
        if image.has_transparency_data:
            above = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
        return image.convert(_MODES[channels])
    except DataError:
        raise
    except Exception as error:  # Pillow raises a dozen types for a damaged file
        raise DataError(
            f"image {path}",
            got=error if str(error) else in_short(error),
            expected="an image that Pillow reads",
            fix="Check the file.",
        ) from error


def _halve_transparency(file: Image.Image) -> None:
    """Cut the transparent colour to the upper 8 of 16 bits, as Pillow does the pixels."""
    colour = file.info.get("transparency")
    if file.mode == "RGB" and isinstance(colour, tuple) and max(colour) > 255:
        file.info["transparency"] = tuple(value >> 8 for value in colour)


def _passing(error: DataError) -> bool:
    """Whether it is no file's fault that it could not be read."""
    cause = error.__cause__
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in PASSING)


def middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """The largest part in the middle of this shape, resized to it (bilinear with antialiasing)."""
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    part = image.crop((left, top, left + across, top + down))
    return part.resize((width, height), Image.Resampling.BILINEAR)


def pixels(image: Image.Image) -> np.ndarray:
    """Bytes (C, H, W) of a grey or colour picture."""
    array = np.array(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def read_image(path: Path, image_shape: tuple[int, int, int]) -> Tensor:
    """An image file as uint8 (C, H, W): grey or colour, cut and resized, as ``image_shape`` asks.

    Transparency shows white, and EXIF orientation is followed. Of a picture of another aspect ratio
    it is the largest part in the middle, as in :func:`folder`; resizing is bilinear with
    antialiasing.

    Raises:
        DataError: for a file that is missing, broken, huge, or grey of more than 8 bits; or another
            number of channels than 1 or 3.
    """
    channels, height, width = image_shape
    if channels not in _MODES:
        raise DataError(
            f"image {path}",
            got=f"a run with {channels} channels",
            expected="1 (grey) or 3 (colour)",
            fix="Read the file yourself and pass a tensor to gan.infer.",
        )
    image = middle(opened(path, channels), width, height)
    return torch.from_numpy(pixels(image).copy())


def refuse(broken: Sequence[DataError]) -> None:
    """Raise one error that names the files that cannot be read.

    Raises:
        DataError: always.
    """
    raise DataError(
        "image files",
        got=f"{_counted(broken)} that cannot be read",
        expected="images that Pillow reads",
        fix="Mend or remove them, or leave them out with on_broken=datasets.skip:\n"
        + _listed(broken),
    )


def skip(broken: Sequence[DataError]) -> None:
    """Warn of the files that cannot be read, and go on without them."""
    message = f"left out {_counted(broken)} that cannot be read:\n{_listed(broken)}"
    warnings.warn(message, stacklevel=4)  # the line that asked for the set


def _counted(broken: Sequence[DataError]) -> str:
    return f"{len(broken):,} file{'s' * (len(broken) > 1)}"


def _listed(broken: Sequence[DataError]) -> str:
    lines = [f"  {error}" for error in broken[:_SHOWN]]
    return "\n".join(lines + ["  ..."] * (len(broken) > _SHOWN))


def digest(root: Path, names: Sequence[str]) -> str:
    """SHA-256 of the names, in their order, with each file's size and times of change.

    Two of them: programs that copy set the first, of the contents, back to what it was elsewhere;
    the second, of all that is known of the file, is the system's own.
    """
    hashed = hashlib.sha256()
    for name in names:
        try:
            about = os.stat(os.path.join(root, name))
            state = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
        except OSError:
            state = "missing"
        hashed.update(os.fsencode(name) + f"\0{state}\0".encode())
    return hashed.hexdigest()


def read_all(
    root: Path,
    names: Sequence[str],
    read: Callable[[Path], np.ndarray],
    shape: tuple[int, int, int],
    place: Path,
    key: Mapping[str, Any],
    *,
    on_broken: OnBroken = refuse,
    progress: bool,
) -> tuple[Tensor, list[int]]:
    """Files as images, read once into the cache at ``place``, a row at a time.

    Files that cannot be read are remembered there, and reported each time.

    Args:
        root: the folder of the files.
        names: of the files in it, in the order of the images.
        read: bytes (C, H, W) of a file; a :class:`DataError` where it is broken.
        shape: of each image, (C, H, W).
        place: folder of the cache.
        key: what else the images follow from, besides the files.
        on_broken: called with the errors of the files that cannot be read, if there are any.
        progress: whether to show a bar.

    Returns:
        Images (n, C, H, W), mapped from the cache, and the index in ``names`` of each.

    Raises:
        DataError: where ``on_broken`` refuses or is no function, no file can be read, reading ends
            for want of memory or open files, or the cache cannot be written.
    """
    if not callable(on_broken):
        raise DataError(
            "on_broken",
            got=repr(on_broken),
            expected="a function of the errors",
            fix="Pass datasets.skip or datasets.refuse.",
        )

    def make(writer: Writer) -> None:
        images = writer.array("images", (len(names), *shape), np.uint8)
        broken: list[tuple[int, str]] = []
        bar = tqdm(names, f"reading {root}", disable=not progress, dynamic_ncols=True, unit="image")
        for index, name in enumerate(bar):
            try:
                images[index - len(broken)] = read(root / name)
            except DataError as error:
                if _passing(error):
                    raise
                broken.append((index, str(error)))
        text = np.frombuffer(json.dumps(broken).encode(), np.uint8)
        writer.array("broken", text.shape, np.uint8)[:] = text

    arrays = cached(place, {**key, "shape": shape, "files": digest(root, names)}, make)
    broken = dict(json.loads(arrays["broken"].tobytes()))
    if broken:
        on_broken([DataError(text) for text in broken.values()])
    kept = [index for index in range(len(names)) if index not in broken]
    if not kept:
        raise DataError(
            f"images of {root}",
            got="no file that can be read",
            expected="images that Pillow reads",
            fix=f"The first says: {next(iter(broken.values()))}",
        )
    return torch.from_numpy(arrays["images"][: len(kept)]), kept
