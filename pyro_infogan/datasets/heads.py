"""Sets of rendered heads: drawn once, then mapped from a file."""

import torch

from .images import ImageSet
from .rendered import rendered
from .rendering import heads

__all__ = ["portraits", "rendered_faces"]


def rendered_faces(
    n: int | None = None,
    size: int = 32,
    *,
    train: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ImageSet:
    """Bald heads seen and lit from many sides, grey, after the "3D faces" of the InfoGAN paper.

    Each is a head of its own: eyes, brows, nose, lips, chin, ears and skin differ as well. Drawn
    once, then mapped from the cache.

    Args:
        n: how many, by default 20,000 to train on or 5,000 others; a longer set begins with the
            shorter one.
        size: height and width, a multiple of 4.
        train: whether to draw heads to train on, or others to test with.
        seed: of the heads.
        device: to draw on, the fastest there is by default. Images of one device may differ from
            another's by a shade; their factors do not.
        progress: whether to show a bar while drawing.

    Returns:
        Images (n, 1, size, size) of uint8 without labels. Their factors are drawn evenly, and apart
        from one another and all else: ``azimuth`` (−1.2 to 1.2 radians; the head looks to the left
        of the picture where it is positive), ``elevation`` (−0.5 to 0.5 radians; seen from above
        where it is positive), ``lighting`` (−1.3 to 1.3 radians; from the right of the picture
        where it is positive) and ``width`` (0.8 to 1.2 times the usual one).

    Raises:
        DataError: for a count, size or seed that cannot be drawn.
    """
    return rendered(
        "faces",
        heads.VERSION,
        n,
        size,
        heads.draw_faces,
        heads.render_faces,
        {"azimuth": None, "elevation": None, "lighting": None, "width": None},
        train=train,
        seed=seed,
        device=device,
        progress=progress,
    )


def portraits(
    n: int | None = None,
    size: int = 32,
    *,
    train: bool = True,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> ImageSet:
    """Heads with hair, glasses and a mouth that smiles or not, in colour, in place of CelebA.

    Each is a head of its own, as :func:`rendered_faces` draws them, seen and lit a little from
    above, below or the side. Drawn once, then mapped from the cache.

    Args:
        n: how many, by default 20,000 to train on or 5,000 others; a longer set begins with the
            shorter one.
        size: height and width, a multiple of 4.
        train: whether to draw heads to train on, or others to test with.
        seed: of the heads.
        device: to draw on, the fastest there is by default. Images of one device may differ from
            another's by a shade; their factors do not.
        progress: whether to show a bar while drawing.

    Returns:
        Images (n, 3, size, size) of uint8 without labels. Their factors are drawn evenly, and apart
        from one another and all else: ``azimuth`` (−1 to 1 radians; the head looks to the left of
        the picture where it is positive), the kind ``glasses`` (0 or 1), ``hair`` (0 for none to 1
        for long), ``smile`` (−1 for stern to 1), ``skin`` (0 for dark to 1 for light),
        ``hair_colour`` (0 for black, over brown, to 1 for blond; eyebrows show it too) and
        ``background`` (a hue in radians, on a circle of 2π, 0 for red).

    Raises:
        DataError: for a count, size or seed that cannot be drawn.
    """
    return rendered(
        "portraits",
        heads.VERSION,
        n,
        size,
        heads.draw_portraits,
        heads.render_portraits,
        {
            "azimuth": None,
            "glasses": None,
            "hair": None,
            "smile": None,
            "skin": None,
            "hair_colour": None,
            "background": 2 * torch.pi,
        },
        train=train,
        seed=seed,
        device=device,
        progress=progress,
        channels=3,
    )
