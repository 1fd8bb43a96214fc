"""Rendered heads: each factor shows in the picture as it says, and in nothing else."""

import math

import pytest
import torch

from pyro_infogan.datasets import portraits, rendered_faces
from pyro_infogan.datasets.rendering.heads import (
    FACES,
    PORTRAITS,
    draw_faces,
    draw_portraits,
    render_faces,
    render_portraits,
)
from pyro_infogan.errors import DataError

SIZE = 32
FRONT = {"azimuth": 0.0, "elevation": 0.0, "lighting": 0.0}
HEADS = 4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path))
    return tmp_path


def some(draw, **fixed):
    """Heads of several people, with some numbers the same for all."""
    numbers = draw(HEADS, torch.Generator().manual_seed(3))
    return numbers | {
        name: torch.full_like(numbers[name], value) for name, value in {**FRONT, **fixed}.items()
    }


def faces(**fixed):
    """Grey heads (HEADS, SIZE, SIZE) from 0 to 1, seen from the front unless told otherwise."""
    return render_faces(some(draw_faces, **fixed), SIZE)[:, 0] / 255


def people(**fixed):
    """Portraits (HEADS, 3, SIZE, SIZE) from 0 to 1."""
    return render_portraits(some(draw_portraits, **fixed), SIZE) / 255


def height(weights):
    """Mean height (n,) of weights (n, SIZE, SIZE), from −1 at the lower edge to 1."""
    up = 1 - (torch.arange(SIZE) + 0.5) * (2 / SIZE)
    return (weights.sum(2) * up).sum(1) / weights.sum((1, 2))


def area(pictures):
    """Share (n,) of grey pictures that is not the plain background."""
    return ((pictures - pictures[:, :1, :1]).abs() > 0.02).float().mean((1, 2))


@pytest.mark.parametrize(("azimuth", "lighting"), [(0.7, 0.9), (1.2, -0.4), (0.0, 1.3)])
def test_mirrored_numbers_make_mirrored_faces(azimuth, lighting):
    one = faces(azimuth=azimuth, lighting=lighting, elevation=0.2)
    other = faces(azimuth=-azimuth, lighting=-lighting, elevation=0.2)
    # A ray may fall on either side of a step in its first bits.
    assert ((one - other.flip(-1)).abs() > 0.02).float().mean() < 0.01
    assert (one - other).abs().mean() > 0.02


def irises(pictures):
    """How dark each pixel is where nothing else of a wide head is, whatever the azimuth."""
    inside = torch.zeros(SIZE, SIZE)
    inside[6:22, 9:23] = 1
    return (0.3 - pictures).clamp(min=0) * inside


def test_a_positive_azimuth_turns_the_face_to_the_left():
    across = (torch.arange(SIZE) + 0.5) * (2 / SIZE) - 1
    for azimuth, sign in ((0.25, -1), (-0.25, 1)):
        dark = irises(faces(azimuth=azimuth, width=1.2)).sum(1)
        assert (sign * (dark * across).sum(1) / dark.sum(1) > 0.05).all()


def test_light_from_the_right_brightens_the_right():
    half = SIZE // 2
    differences = []
    for lighting in (-1.3, -0.6, 0.0, 0.6, 1.3):
        picture = faces(lighting=lighting)
        differences.append(picture[..., half:].mean((1, 2)) - picture[..., :half].mean((1, 2)))
    assert (torch.stack(differences).diff(dim=0) > 0.02).all()
    assert (differences[-1] > 0.1).all()
    assert differences[2].abs().max() < 0.01


def test_light_turns_with_the_camera():
    """So that azimuth does not tell lighting."""
    for azimuth in (-1.0, 1.0):
        bright, dark = (faces(azimuth=azimuth, lighting=lighting) for lighting in (1.0, -1.0))
        more = bright - dark
        assert (more[..., 20:].mean((1, 2)) > 0.03).all()
        assert (more[..., :12].mean((1, 2)) < -0.03).all()


def test_a_wider_head_has_a_wider_outline_of_the_same_height():
    outlines = [faces(width=width, lighting=0.0) > 0.13 for width in (0.8, 1.0, 1.2)]
    wide = torch.stack([outline.any(1).sum(1) for outline in outlines])
    tall = torch.stack([outline.any(2).sum(1) for outline in outlines])
    assert (wide.diff(dim=0) >= 2).all()
    assert (tall.diff(dim=0).abs() <= 1).all()


def test_seen_from_above_the_face_is_lower():
    heights = [height(irises(faces(elevation=up, width=1.2))) for up in (-0.4, 0.0, 0.4)]
    assert (torch.stack(heights).diff(dim=0) < -0.1).all()


def test_every_face_is_inside_the_picture_but_for_its_neck():
    numbers = draw_faces(64, torch.Generator().manual_seed(5))
    pictures = render_faces(numbers, SIZE)[:, 0].float()
    beyond = pictures
    assert beyond[:, 0].max() <= 1
    assert beyond[:, : SIZE - 6, [0, -1]].max() <= 1
    share = area(pictures / 255)
    assert share.min() > 0.2
    assert share.max() < 0.7


def test_glasses_darken_the_band_of_the_eyes_and_nothing_else():
    without, worn = (people(hair=0.3, glasses=glasses) for glasses in (0, 1))
    darker = (without - worn).mean(1)
    band = slice(11, 20)
    assert (darker[:, band, 8:24].mean((1, 2)) > 0.05).all()
    outside = darker.clone()
    outside[:, band] = 0
    assert outside.abs().max() == 0


def test_a_smile_changes_the_mouth_alone():
    stern, plain, smiling = (people(smile=smile) for smile in (-1.0, 0.0, 1.0))
    for picture in (stern, smiling):
        changed = (picture - plain).abs().amax(1)
        mouth = changed[:, 18:28, 9:23].clone()
        assert (mouth.flatten(1).amax(1) > 0.15).all()
        changed[:, 18:28, 9:23] = 0
        assert changed.max() == 0
    # Teeth.
    assert (smiling - stern).mean(1)[:, 18:28, 9:23].amax((1, 2)).min() > 0.2


def test_the_corners_of_a_smile_are_up():
    """Nothing is as red for its brightness as lips are."""
    bends = []
    for smile in (-1.0, 0.0, 1.0):
        red, green, _ = people(smile=smile, skin=1.0).unbind(1)
        lips = (red / (green + 0.02) - 1.4).clamp(min=0)
        lips[:, :18] = lips[:, 28:] = 0
        ends, middle = torch.zeros_like(lips), torch.zeros_like(lips)
        ends[..., [12, 13, 18, 19]] = lips[..., [12, 13, 18, 19]]
        middle[..., 14:18] = lips[..., 14:18]
        bends.append(height(ends) - height(middle))
    assert (torch.stack(bends).diff(dim=0) > 0.02).all()


@pytest.mark.parametrize("azimuth", [0.0, 0.8])
def test_hair_grows(azimuth):
    """Black hair before red, on light skin: the dark area grows, from nothing."""
    fixed = {"hair_colour": 0.0, "skin": 1.0, "background": 0.0, "glasses": 0, "azimuth": azimuth}
    covered = torch.stack(
        [
            (people(hair=amount, **fixed).amax(1) < 0.2).float().mean((1, 2))
            for amount in (0.0, 0.25, 0.5, 0.75, 1.0)
        ]
    )
    assert (covered.diff(dim=0) >= 0).all()
    assert (covered[0] < 0.02).all()
    assert (covered[-1] - covered[0] > 0.1).all()


def test_skin_background_and_hair_have_their_colours():
    dark, light = (people(skin=skin, hair=0.0, glasses=0)[:, :, 8, 16] for skin in (0.0, 1.0))
    assert (light - dark > 0.15).all()
    for third, channel in ((0, 0), (1, 1), (2, 2)):
        corner = people(background=third * 2 * math.pi / 3)[:, :, 0, 0]
        assert (corner.argmax(1) == channel).all()
    top = (slice(None), slice(None), 4, 16)
    black, blond = (people(hair=0.8, hair_colour=colour)[top] for colour in (0.0, 1.0))
    assert (blond - black > 0.2).all()


@pytest.mark.parametrize(("draw", "ranges"), [(draw_faces, FACES), (draw_portraits, PORTRAITS)])
def test_numbers_are_even_and_apart_from_one_another(draw, ranges):
    n = 4000
    numbers = draw(n, torch.Generator().manual_seed(0))
    table = torch.stack([values.float() for values in numbers.values()])
    correlations = table.corrcoef() - torch.eye(len(table))
    assert correlations.abs().max() < 5 / n**0.5
    for name, (low, high) in ranges.items():
        place = (numbers[name] - low) / (high - low)
        assert place.min() >= 0
        assert place.max() <= 1
        assert (torch.histc(place, 4, 0, 1) / n - 0.25).abs().max() < 0.04


@pytest.mark.parametrize(
    ("make", "channels", "kinds", "ranges"),
    [
        (rendered_faces, 1, set(), {"azimuth", "elevation", "lighting", "width"}),
        (
            portraits,
            3,
            {"glasses"},
            {"azimuth", "hair", "smile", "skin", "hair_colour", "background"},
        ),
    ],
)
def test_sets(make, channels, kinds, ranges, cache, monkeypatch):
    made = make(66, 16, progress=False)
    assert made.images.shape == (66, channels, 16, 16)
    assert made.images.dtype == torch.uint8
    assert (made.labels == -1).all()
    assert {name for name, factor in made.factors.items() if factor.is_kind} == kinds
    assert set(made.factors) == kinds | ranges
    circles = {name for name, factor in made.factors.items() if factor.period is not None}
    assert circles == {"background"} & ranges

    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(cache / "another"))
    again = make(66, 16, progress=False)
    assert torch.equal(made.images, again.images)
    for others in (make(66, 16, train=False, progress=False), make(66, 16, seed=1, progress=False)):
        assert not torch.isin(
            made.factors["azimuth"].values, others.factors["azimuth"].values
        ).any()
        assert (others.images != made.images).flatten(1).any(1).all()


@pytest.mark.parametrize("make", [rendered_faces, portraits])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n": 0}, "n of rendered"),
        ({"size": 30}, "multiple of 4"),
        ({"size": 32.0}, "size of rendered"),
        ({"seed": -1}, "seed of rendered"),
    ],
)
def test_what_cannot_be_drawn(make, wrong, said):
    with pytest.raises(DataError, match=said):
        make(**wrong)
