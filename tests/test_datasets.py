import pytest
import torch
from PIL import Image

from pyro_infogan import datasets


@pytest.mark.parametrize(
    ("train", "counts"),
    [
        (True, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        (False, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
    ],
)
def test_mnist_is_mnist(train, counts):
    """The counts of each digit are published facts of the set."""
    digits = datasets.mnist(train=train)
    assert digits.images.shape == (sum(counts), 1, 28, 28)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.bincount().tolist() == counts
    image, label = digits[0]
    assert image.dtype == torch.float32
    assert 0 <= image.min() <= image.max() <= 1
    assert label.item() == (5 if train else 7)


def test_mnist_is_the_callers_own():
    first = datasets.mnist(train=False)
    first.images.zero_()
    first.labels.zero_()
    assert datasets.mnist(train=False).images.any()
    assert datasets.mnist(train=False).labels.any()


def test_images_are_read_as_the_run_needs_them(tmp_path):
    Image.new("RGB", (4, 6), (255, 0, 0)).save(tmp_path / "red.png")
    grey = datasets.read_image(tmp_path / "red.png", (1, 6, 4))
    assert grey.unique().tolist() == [76]  # 0.299 · 255, the luma of red
    colour = datasets.read_image(tmp_path / "red.png", (3, 12, 8))
    assert colour.shape == (3, 12, 8)
    assert colour[0].unique().tolist() == [255]
    with pytest.raises(ValueError, match="5 channels"):
        datasets.read_image(tmp_path / "red.png", (5, 6, 4))


def test_a_single_image_is_read_as_those_of_a_folder(tmp_path):
    """The middle of it, whose shape the run's images have."""
    for number, size in enumerate([(192, 64), (31, 90), (40, 40)]):
        values = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8)
        Image.fromarray(values.numpy()).save(tmp_path / f"{number}.png")
    folder = datasets.folder(tmp_path, 16, progress=False)
    for name, image in zip(folder.names, folder.images, strict=True):
        assert datasets.read_image(tmp_path / name, (3, 16, 16)).equal(image)
    # Two to one, of which the middle of a third is all there is to be seen.
    thirds = Image.new("RGB", (60, 20))
    for place, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        thirds.paste(colour, (20 * place, 0, 20 * place + 20, 20))
    thirds.save(tmp_path / "thirds.png")
    seen = datasets.read_image(tmp_path / "thirds.png", (3, 2, 4))
    # 40 of 60 columns: the green third, and half of either neighbour.
    assert seen[1].float().mean().item() / 255 == pytest.approx(1 / 2, abs=0.02)
    assert datasets.read_image(tmp_path / "thirds.png", (3, 20, 10))[1].unique().tolist() == [255]
