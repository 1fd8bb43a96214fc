"""Rendered faces."""

from pathlib import Path

from .folder import folder
from .images import ImageSet
from .reading import OnBroken, refuse

__all__ = ["faces"]


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
    handing them on, so that there is no set of them to fetch. What they were rendered with may
    stand in the folder's ``factors.csv``::

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
        DataError: as :func:`folder`.
    """
    return folder(
        root, size, grey=True, train=train, on_broken=on_broken, cache=cache, progress=progress
    )
