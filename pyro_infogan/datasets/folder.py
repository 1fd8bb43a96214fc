"""A folder of pictures."""

import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import DataError, checked_count
from .cache import place_for
from .images import ImageSet
from .known import read_known
from .reading import OnBroken, middle, opened, pixels, read_all, refuse, suffixes

__all__ = ["checked_folder", "folder", "part", "picture", "pictures", "shuffled"]


def folder(
    path: str | Path,
    size: int,
    grey: bool = False,
    *,
    train: bool | None = None,
    on_broken: OnBroken = refuse,
    cache: str | Path | None = None,
    progress: bool = True,
) -> ImageSet:
    """Every picture in a folder and those inside it, as size×size images.

    Of each picture it is the largest square in the middle, resized with antialiasing; upright as
    its EXIF orientation says, on white where it is transparent. A picture is what has the suffix of
    one; hidden files and folders are left out. The order is fixed and pseudo-random, by the CRC-32
    of each path, so that any slice is a fair sample. ``names`` are the paths inside the folder.

    The images are read once and kept beside the folder, in one that is hidden, or in the user's
    cache where nothing can be written there; later they are mapped from there, until a file is
    added, changed or removed.

    What else is known of the pictures may stand in a table ``factors.csv`` in the folder: a column
    ``file`` of their names, and others of numbers or words, which become factors; a column
    ``label`` gives their labels, and may have empty cells. Words are numbered by the alphabet::

        file,age,place,label
        a/0001.jpg,31.5,shore,gull
        a/0002.jpg,12,harbour,

    Args:
        path: the folder.
        size: height and width of the images.
        grey: one channel instead of three.
        train: all but the last tenth of the images, or the last tenth; by default all.
        on_broken: what to do about files that cannot be read: :func:`refuse`, :func:`skip`, or
            another function of their errors.
        cache: another folder to keep the images in, such as for a path that cannot be written to.
        progress: whether to show a bar while reading.

    Raises:
        DataError: for a path that is no folder with pictures, files that cannot be read, a cache
            that cannot be written, or a table that does not fit the pictures.
    """
    root = checked_folder(path)
    channels = 1 if grey else 3
    checked_count("size", size, least=1)
    place = place_for(root, f"{size}-{'grey' if grey else 'colour'}", cache)
    names = sorted(pictures(root), key=shuffled)
    if not names:
        raise DataError(
            f"folder {root}",
            got="no pictures",
            expected="files such as .png or .jpg, in it or in folders inside it",
            fix="Check the path.",
        )
    images, kept = read_all(
        root,
        names,
        partial(picture, channels=channels, size=size),
        (channels, size, size),
        place,
        {"set": "folder"},
        on_broken=on_broken,
        progress=progress,
    )
    read = [names[index] for index in kept]
    # One that cannot be read, and is left out, may have its line.
    factors, labels = read_known(root, set(names), read)
    every = ImageSet(images, factors=factors, names=read)
    return part(every if labels is None else replace(every, labels=labels), train)


def picture(path: Path, channels: int, size: int) -> np.ndarray:
    """Bytes (C, size, size) of the square in the middle of a picture.

    Raises:
        DataError: for a file that cannot be read.
    """
    return pixels(middle(opened(path, channels), size, size))


def checked_folder(path: str | Path) -> Path:
    """``path``, if it is a folder.

    Raises:
        DataError: otherwise.
    """
    root = Path(path)
    if not os.path.isdir(root):
        raise DataError(
            f"folder {root}",
            got="a file" if os.path.exists(root) else "nothing there that may be read",
            expected="a folder",
            fix="Check the path.",
        )
    return root


def pictures(root: Path) -> Iterator[str]:
    """Paths inside ``root``, with forward slashes, of the pictures that are not hidden.

    Links are followed, to each folder once. What is in a run folder was drawn by us, and is none.

    Raises:
        DataError: for a folder that cannot be listed.
    """

    def stop(error: OSError) -> None:
        raise DataError(
            f"folder {error.filename}",
            got=error,
            expected="a folder that can be read",
            fix="Let yourself read it, or move it elsewhere.",
        ) from error

    seen: set[tuple[int, int]] = set()
    for place, below, files in os.walk(root, onerror=stop, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:
            below.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        if "run.json" in files and "checkpoints" in below:
            below.clear()
            continue
        # Sorted, so that a folder with two names is always met by the same one.
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in suffixes() and not name.startswith(".") and _is_file(path):
                yield path.relative_to(root).as_posix()


def _is_file(path: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere, which is reported as a broken one."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def shuffled(name: str) -> tuple[int, str]:
    """What to sort by for an order that is fixed and pseudo-random."""
    return zlib.crc32(os.fsencode(name)), name


def part(images: ImageSet, train: bool | None) -> ImageSet:
    """All but the last tenth of the images, or the last tenth, without a copy; all with None.

    Raises:
        DataError: for a part without images.
    """
    if train is None:
        return images
    cut = len(images) * 9 // 10
    chosen = images.subset(slice(cut) if train else slice(cut, None))
    if not len(chosen):
        raise DataError(
            "images to train on" if train else "images to test on",
            got="none",
            expected="two images or more, of which the last tenth are to test on",
            fix="Bring more images.",
        )
    return chosen
