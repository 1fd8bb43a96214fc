"""The ray marcher against geometry, chairs against what their numbers say, and the set of them."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pyro_infogan import datasets
from pyro_infogan.datasets.rendering import chairs
from pyro_infogan.datasets.rendering.marching import Camera, march, normals


def drawn(n, seed=0, **held):
    """Numbers of ``n`` chairs, of which those ``held`` are as given."""
    numbers = chairs.draw(n, torch.Generator().manual_seed(seed))
    return numbers | {name: torch.as_tensor(value).expand(n) for name, value in held.items()}


def share_apart(a, b, levels):
    """How many pixels differ by more than ``levels`` of 255."""
    return ((a.int() - b.int()).abs() > levels).double().mean().item()


def ball(shape, x, y, z):
    return (x * x + y * y + z * z).sqrt() - shape["radius"]


@pytest.mark.parametrize("size", [32, 64])
def test_a_ball_covers_its_disc(size):
    radius = torch.tensor([0.3, 0.6, 0.95])
    camera = Camera(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([0.0, 0.4, -0.3]))
    seen = march(ball, {"radius": radius}, camera, size)
    area = torch.zeros(3).index_add(0, seen.image, seen.coverage)
    # The tangents to a ball of radius r, seen from d, meet the plane of the picture d·tan(asin r/d)
    # from the middle; the unit ball fills it.
    edge = (radius / 5).asin().tan() / math.tan(math.asin(1 / 5))
    assert torch.allclose(area, math.pi * (edge * size / 2) ** 2, rtol=0.01)


def test_a_ball_is_met_where_it_is():
    camera = Camera(torch.tensor([0.7]), torch.tensor([0.3]))
    seen = march(ball, {"radius": torch.tensor([0.8])}, camera, 64)
    place = torch.stack([seen.x, seen.y, seen.z], -1)
    whole = seen.coverage > 0.99
    assert whole.sum() > 1000
    # On the near side, a pixel is as deep as wide at most; towards the camera the normal is the
    # direction from the middle.
    assert ((place.norm(dim=-1) - 0.8)[whole].abs() < 1 / 32).all()
    assert seen.distance.allclose(place.norm(dim=-1) - 0.8, atol=1e-5)
    normal = torch.stack(normals(ball, seen, 1e-3), -1)
    assert torch.allclose(normal, place / place.norm(dim=-1, keepdim=True), atol=5e-3)
    outward = torch.stack(camera.outward(0, 0, 1), -1)
    assert ((place * outward).sum(-1) > -0.05).all()


def test_the_camera_goes_round_to_the_left():
    """What stands at x = 0.6 is right of the middle from the front, and nearer from azimuth π/2."""

    def post(shape, x, y, z):
        return ((x - 0.6) ** 2 + y**2 + z**2).sqrt() - 0.2 + 0 * shape["none"]

    azimuth = torch.tensor([0.0, math.pi / 2, math.pi])
    seen = march(post, {"none": torch.zeros(3)}, Camera(azimuth, torch.zeros(3)), 32)
    across = [(seen.pixel[seen.image == i] % 32).double().mean().item() for i in range(3)]
    assert across == pytest.approx([15.5 + 0.6 * 16, 15.5, 15.5 - 0.6 * 16], abs=0.6)
    counts = seen.image.bincount()
    assert counts[1] > counts[0]


def test_nothing_in_sight():
    def far_away(shape, x, y, z):
        return (x * x + y * y + (z + 50) ** 2).sqrt() - shape["radius"]

    seen = march(far_away, {"radius": torch.ones(2)}, Camera(torch.zeros(2), torch.zeros(2)), 16)
    assert len(seen.image) == 0


def test_chairs_have_no_holes():
    """Against distances at every hundredth of each ray."""
    numbers, size, n = drawn(12, seed=1), 64, 12
    shape = chairs._shape(numbers)
    camera = Camera(numbers["azimuth"], numbers["elevation"])
    seen = march(chairs._distance, shape, camera, size)
    covered = torch.zeros(n, size * size)
    covered[seen.image, seen.pixel] = seen.coverage
    deep = torch.full((n, size * size), math.nan)
    out = camera.outward(0, 0, 1)
    ox, oy, oz = (5 * part[:, None] for part in out)
    deep[seen.image, seen.pixel] = sum(
        part[seen.image] * own for part, own in zip(out, (seen.x, seen.y, seen.z), strict=True)
    )

    middle = (torch.arange(size) + 0.5) / size * 2 - 1
    up, across = (part.flatten() for part in torch.meshgrid(-middle, middle, indexing="ij"))
    dx, dy, dz = camera.rays(across, up)
    own = {name: value[:, None] for name, value in shape.items()}
    least = torch.full((n, size * size), math.inf)
    first = torch.full((n, size * size), math.nan)
    for length in torch.arange(3.95, 6.05, 0.01):
        x, y, z = ox + length * dx, oy + length * dy, oz + length * dz
        left = chairs._distance(own, x, y, z)
        height = sum(part[:, None] * own for part, own in zip(out, (x, y, z), strict=True))
        first = torch.where(first.isnan() & (left < -1 / size), height, first)
        least = torch.minimum(least, left)
    # A pixel is 0.031 wide. Rays that pass within a fifth of one are as good on either side.
    inside, outside = least < -0.012, least > 0.012
    assert inside.sum() > 3000
    assert (covered[inside] > 0.5).double().mean() > 0.999
    assert (covered[outside] < 0.5).double().mean() > 0.9995
    thick = least < -1 / size
    assert ((deep - first)[thick].abs() < 0.06).double().mean() > 0.99


def test_distances_of_chairs_are_never_too_long():
    """Between two points the distance changes by no more than they are apart."""
    shape = {name: value[:, None] for name, value in chairs._shape(drawn(300)).items()}
    here = torch.rand(3, 300, 400) * 2 - 1
    step = torch.randn(3, 300, 400) * 0.02
    change = chairs._distance(shape, *(here + step)) - chairs._distance(shape, *here)
    assert (change.abs() <= step.norm(dim=0) + 1e-5).all()


def test_chairs_stay_in_the_picture():
    images = chairs.render(drawn(64, seed=2, width=0.5), 64)
    for border in (images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]):
        assert (border == 255).all()
    for image in images:
        assert (image < 200).sum() > 150


def test_a_whole_turn_is_none():
    numbers = drawn(16)
    turned = numbers | {"azimuth": numbers["azimuth"] + 2 * math.pi}
    half = numbers | {"azimuth": numbers["azimuth"] + math.pi}
    images = chairs.render(numbers, 64)
    assert share_apart(images, chairs.render(turned, 64), 8) < 1e-3
    assert share_apart(images, chairs.render(half, 64), 8) > 0.05


def test_chairs_are_symmetric():
    """From the other side, in light from the middle, the picture is its mirror's."""
    numbers = drawn(16)
    other = numbers | {"azimuth": -numbers["azimuth"]}
    light = (0.0, 0.8, 0.6)
    images = chairs.render(numbers, 64, light)
    assert share_apart(images.flip(-1), chairs.render(other, 64, light), 8) < 2e-3
    assert share_apart(images, chairs.render(other, 64, light), 8) > 0.03
    # From the upper left it is not, which tells the two sides apart.
    assert share_apart(chairs.render(numbers, 64).flip(-1), chairs.render(other, 64), 8) > 0.02


def test_light_comes_from_the_upper_left():
    """Backs bent round the sitter, seen from behind, are brighter on the left."""
    numbers = drawn(200, azimuth=math.pi, elevation=0.3)
    bent = (numbers["back"] == 1) & (numbers["arms"] == 0) & (numbers["upper_shade"] > 0.4)
    numbers = {name: value[bent] for name, value in numbers.items()}
    top = chairs.render(numbers, 64)[:, 0, 12:24].double()
    left, right = top[..., 28:31].mean((1, 2)), top[..., 33:36].mean((1, 2))
    assert len(left) > 5
    assert (left >= right).all()
    assert (left > right + 2).double().mean() > 0.5


def test_wider_chairs_are_wider_and_nothing_else():
    def extents(width):
        numbers = drawn(40, azimuth=0.0, width=width)
        # The foot of a column may be wider than a narrow seat.
        numbers = {name: value[numbers["legs"] != 4] for name, value in numbers.items()}
        images = chairs.render(numbers, 64)[:, 0] < 250
        return images.any(1).sum(-1), images.any(2).sum(-1)

    widths, heights = zip(*(extents(width) for width in (0.26, 0.36, 0.46)), strict=True)
    assert (widths[0] < widths[1]).all()
    assert (widths[1] < widths[2]).all()
    # A wider seat's corners are no higher or lower, from the front.
    assert ((heights[0] - heights[2]).abs() <= 1).all()


def test_numbers_of_chairs_do_not_depend_on_the_factors():
    n = 8000
    numbers = drawn(n)
    azimuth = numbers.pop("azimuth")
    assert 0 <= azimuth.min() < 0.01
    assert 2 * math.pi - 0.01 < azimuth.max() <= 2 * math.pi
    width = numbers.pop("width")
    every = torch.stack([azimuth.cos(), azimuth.sin(), width, *numbers.values()]).double()
    related = torch.corrcoef(every)[:3]
    related[:, :3] -= torch.eye(3)
    # Five standard deviations of the correlation of independent numbers.
    assert (related.abs() < 5 / math.sqrt(n)).all()


def test_every_kind_is_there():
    numbers = drawn(500)
    for name, kinds in {"legs": 6, "back": 6, "arms": 3}.items():
        counts = numbers[name].bincount(minlength=kinds)
        assert len(counts) == kinds
        assert (counts > 25).all()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path))
    return tmp_path


def chair_set(n, size=16, **options):
    return datasets.rendered_chairs(n, size, device="cpu", progress=False, **options)


def test_a_set_of_chairs_is_drawn_once(own_cache, monkeypatch):
    first = chair_set(70)
    assert first.images.shape == (70, 1, 16, 16)
    assert first.images.dtype == torch.uint8
    assert (first.labels == -1).all()
    assert set(first.factors) == {"azimuth", "width", "legs", "back", "arms"}
    assert first.factors["azimuth"].period == pytest.approx(2 * math.pi)
    assert [factor.is_kind for factor in first.factors.values()] == [False, False, True, True, True]
    monkeypatch.setattr(chairs, "render", None)
    again = chair_set(70)
    assert (again.images == first.images).all()
    for name, factor in first.factors.items():
        assert (again.factors[name].values == factor.values).all()
    with pytest.raises(TypeError):
        chair_set(71)


def test_new_drawing_code_draws_anew(own_cache, monkeypatch):
    chair_set(1)
    monkeypatch.setattr(chairs, "VERSION", chairs.VERSION + 1)
    monkeypatch.setattr(chairs, "render", None)
    with pytest.raises(TypeError):
        chair_set(1)


def test_images_follow_from_seed_and_part(own_cache):
    images = chair_set(70).images
    assert (chair_set(66).images == images[:66]).all()
    # What counts as true is true.
    assert (chair_set(65, train=2).images == images[:65]).all()
    for other in (chair_set(70, train=False), chair_set(70, seed=1)):
        assert not (other.images == images).flatten(1).all(1).any()


def test_images_show_their_factors(own_cache):
    chosen = chair_set(64)
    numbers = chairs.draw(64, torch.Generator().manual_seed(5))
    assert not (numbers["azimuth"] == chosen.factors["azimuth"].values).any()
    # Seen from the front or behind, the silhouette is as wide as the chair.
    azimuth, width = chosen.factors["azimuth"].values, chosen.factors["width"].values
    frontal = azimuth.cos().abs() > 0.9
    shown = (chosen.images[:, 0] < 250).any(1).sum(-1).float()
    assert torch.corrcoef(torch.stack([shown, width])[:, frontal])[0, 1] > 0.6


def test_threads_draw_the_same_images(own_cache, monkeypatch):
    alone = chair_set(130).images.clone()
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(own_cache / "other"))
    torch.set_num_threads(2)
    try:
        assert (chair_set(130).images == alone).all()
        assert torch.get_num_threads() == 2
        # What a new thread begins with, too.
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("n", "options", "said"),
    [
        (0, {}, "n of rendered chairs: got 0"),
        (2.0, {}, "n of rendered chairs: got 2.0"),
        (1, {"size": 12}, "got 12, expected a whole number, 16 or more"),
        (1, {"size": 30}, "Use 28 or 32"),
        (1, {"seed": -1}, "seed of rendered chairs: got -1"),
    ],
)
def test_sets_that_cannot_be_drawn(own_cache, n, options, said):
    with pytest.raises(ValueError, match=said):
        chair_set(n, **options)
    assert not list(own_cache.iterdir())
