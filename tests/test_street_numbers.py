"""Street numbers show what their labels and factors say."""

import math
import sys

import pytest
import torch

from pyro_infogan.datasets.mnist import mnist
from pyro_infogan.datasets.street_numbers import _blurred, _draw, _paint, street_numbers


@pytest.fixture(scope="module")
def many():
    return street_numbers(2000)


def painted(numbers, **held):
    """Images of the numbers, but those ``held``, as floats; the grain is always the same."""
    numbers = numbers | {
        name: torch.full_like(numbers[name], value) for name, value in held.items()
    }
    images = _paint(numbers, mnist().images, torch.Generator().manual_seed(0))
    return images.double() / 255


def drawn(n, **held):
    numbers = _draw(n, mnist(), torch.Generator().manual_seed(0))
    return numbers | {name: torch.full_like(numbers[name], value) for name, value in held.items()}


def test_images_and_what_is_known_of_them(many):
    assert many.images.shape == (2000, 3, 32, 32)
    assert many.images.dtype == torch.uint8
    assert many.labels.unique().tolist() == list(range(10))
    kinds = {name for name, factor in many.factors.items() if factor.is_kind}
    assert kinds == {"left", "right"}
    for name in kinds:
        assert many.factors[name].values.unique().tolist() == list(range(11))
    assert {name: factor.period for name, factor in many.factors.items() if factor.period} == {
        "hue": pytest.approx(2 * math.pi)
    }


def test_labels_are_those_of_the_digits_in_the_middle():
    """The ink in the middle is that of an image of MNIST with the label."""
    numbers = drawn(100, turn=0.0, slant=0.0, across=0.0, down=0.0, blur=0.3, height=20.0)
    numbers |= {"left": torch.full((100,), 10), "right": torch.full((100,), 10)}
    numbers |= {name: torch.zeros(100) for name in ("noise", "shadow", "falloff")}
    numbers |= {"narrow": torch.ones(100), "edge": torch.full((100,), 40.0)}
    images = painted(numbers).mean(1)[:, 2:-2, 2:-2].flatten(1)
    digits = mnist().images[numbers["middle_image"]].double().flatten(1)
    alike = [
        torch.corrcoef(torch.stack(pair))[0, 1].abs() for pair in zip(images, digits, strict=True)
    ]
    assert min(alike) > 0.8
    assert (mnist().labels[numbers["middle_image"]] == numbers["middle"]).all()


def test_labels_of_a_set_are_its_digits(many):
    """The nearest mean image of sharp digits alone tells the label more often than not."""
    alone = (many.factors["left"].values == 10) & (many.factors["right"].values == 10)
    images = many.images[alone].double().mean(1)
    images = (images - images.mean((1, 2), keepdim=True)).flatten(1)
    digits = mnist()
    means = torch.stack(
        [digits.images[digits.labels == digit].double().mean((0, 1)) for digit in range(10)]
    )
    means = torch.nn.functional.interpolate(means[None], 38, mode="bilinear")[0, :, 3:-3, 3:-3]
    means = (means - means.mean((1, 2), keepdim=True)).flatten(1)
    means = means / means.norm(dim=1, keepdim=True)
    # Digits are brighter than their plates, or darker.
    found = (images @ means.T).abs().argmax(1)
    assert (found == many.labels[alone]).double().mean() > 0.4


def test_lighting_is_brightness(many):
    numbers = drawn(50)
    means = [painted(numbers, lighting=value).mean((1, 2, 3)) for value in (0.4, 0.7, 1.0)]
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    brightness = many.images.double().mean((1, 2, 3))
    related = torch.stack([brightness, many.factors["lighting"].values.double()])
    assert torch.corrcoef(related)[0, 1] > 0.6


def test_contrast_is_between_digit_and_plate():
    numbers = drawn(50, noise=0.0, falloff=0.0, shadow=0.0, edge=40.0)
    spread = [painted(numbers, contrast=value).std((1, 2, 3)) for value in (0.25, 0.5, 0.75)]
    assert (spread[0] < spread[1]).all()
    assert (spread[1] < spread[2]).all()


def test_blur_takes_edges_away():
    numbers = drawn(50, noise=0.0)

    def edges(blur):
        return painted(numbers, blur=blur).diff(dim=-1).abs().amax((1, 2, 3))

    assert (edges(0.3) > edges(0.8)).all()
    assert (edges(0.8) > edges(1.4)).all()


def test_blur_is_gaussian():
    """A point becomes as wide as it says, and no light is lost."""
    point = torch.zeros(2, 31, 31, 1)
    point[:, 15, 15] = 1
    wide = torch.tensor([1.0, 2.0])
    spread = _blurred(point, wide).squeeze(-1)
    assert torch.allclose(spread.sum((1, 2)), torch.ones(2), atol=1e-3)
    apart = (torch.arange(31) - 15.0) ** 2
    for axis in (1, 2):
        assert torch.allclose((spread.sum(axis) * apart).sum(-1), wide**2, rtol=0.01)


def test_hue_is_of_the_plate():
    """Of red, green and blue, that third of the circle is strongest which is nearest."""
    third = 2 * math.pi / 3
    numbers = drawn(30, colourful=0.15, noise=0.0, digit_colourful=0.0)
    for channel in range(3):
        means = painted(numbers, hue=channel * third).mean((2, 3))
        assert (means.argmax(1) == channel).all()


def test_neighbours_are_where_they_are_said_to_be():
    numbers = drawn(50, noise=0.0, blur=0.3)
    alone = painted(numbers | {side: torch.full((50,), 10) for side in ("left", "right")})
    for side, columns in {"left": slice(24, 32), "right": slice(0, 8)}.items():
        other = "right" if side == "left" else "left"
        beside = painted(numbers | {side: torch.full((50,), 3), other: torch.full((50,), 10)})
        changed = (beside - alone).abs().amax((1, 2))
        assert (changed[:, columns] < 0.02).all()
        assert (changed.amax(1) > 0.1).double().mean() > 0.8


def test_factors_are_independent(many):
    every = [many.labels, *(factor.values for factor in many.factors.values())]
    related = torch.corrcoef(torch.stack([values.double() for values in every]))
    # Five standard deviations of the correlation of independent numbers.
    assert ((related - torch.eye(len(every))).abs() < 5 / math.sqrt(2000)).all()


def test_sets_follow_from_seed_and_part(many):
    again = street_numbers(300)
    assert (again.images == many.images[:300]).all()
    assert (again.labels == many.labels[:300]).all()
    for other in (street_numbers(300, train=False), street_numbers(300, seed=1)):
        assert not (other.images == again.images).flatten(1).all(1).any()
        assert (other.labels != again.labels).double().mean() > 0.8
        lit, as_again = (numbers.factors["lighting"].values for numbers in (other, again))
        assert (lit != as_again).double().mean() > 0.99


def test_test_sets_show_test_digits(monkeypatch):
    asked = []
    # The function has the module's name.
    module = sys.modules[street_numbers.__module__]
    monkeypatch.setattr(module, "mnist", lambda train: asked.append(train) or mnist(train))
    street_numbers(1)
    street_numbers(1, train=False)
    assert asked == [True, False]


def test_draws_leave_the_callers_state():
    before = torch.random.get_rng_state()
    street_numbers(1)
    assert (torch.random.get_rng_state() == before).all()


@pytest.mark.parametrize(("n", "seed"), [(0, 0), (1.5, 0), (1, -1)])
def test_sets_that_cannot_be_made(n, seed):
    with pytest.raises(ValueError, match="of street numbers: got"):
        street_numbers(n, seed=seed)
