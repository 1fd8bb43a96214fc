"""Sets read from files in the formats they are published in, and every way those can be wrong."""

import errno
import importlib
import math
import os
import random
import struct
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets as torchvision_datasets

from pyro_infogan import datasets
from pyro_infogan.datasets import reading
from pyro_infogan.errors import DataError


def save(path, colour=(10, 20, 30), size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)
    return path


def noise(path, size=(8, 8), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(values).save(path)
    return values


def colour_of(path):
    image = datasets.read_image(path, (3, 2, 2))
    assert image.dtype == torch.uint8
    values = {tuple(pixel.tolist()) for pixel in image.flatten(1).T}
    assert len(values) == 1
    return values.pop()


def grey_of(path):
    return datasets.read_image(path, (1, 2, 2)).unique().tolist()


@pytest.fixture
def reads(monkeypatch):
    """Paths that are opened as pictures."""
    paths = []
    original = Image.open

    def counted(path, *args, **kwargs):
        paths.append(path)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", counted)
    return paths


# Pictures


def with_palette(path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 40, 50, 60])
    image.save(path)


def with_clear_palette(path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 40, 50, 60])
    image.save(path, transparency=b"\xff\x00")


PICTURES = {
    "colour.png": (lambda path: save(path), (10, 20, 30)),
    "grey.png": (lambda path: save(path, 77, mode="L"), (77, 77, 77)),
    "bit.png": (lambda path: save(path, 1, mode="1"), (255, 255, 255)),
    "dark bit.png": (lambda path: save(path, 0, mode="1"), (0, 0, 0)),
    "palette.png": (with_palette, (40, 50, 60)),
    "clear palette.png": (with_clear_palette, (255, 255, 255)),
    "cmyk.tif": (lambda path: save(path, (255, 0, 0, 0), mode="CMYK"), (0, 255, 255)),
    "cmyk.jpg": (lambda path: save(path, (0, 0, 0, 255), mode="CMYK"), (0, 0, 0)),
    "opaque.png": (lambda path: save(path, (10, 20, 30, 255), mode="RGBA"), (10, 20, 30)),
    "clear.png": (lambda path: save(path, (10, 20, 30, 0), mode="RGBA"), (255, 255, 255)),
    # 255 · (1 − 51/255) + 10 · 51/255, and so on.
    "fifth.png": (lambda path: save(path, (10, 20, 30, 51), mode="RGBA"), (206, 208, 210)),
    "grey clear.png": (lambda path: save(path, (0, 51), mode="LA"), (204, 204, 204)),
    "colour key.png": (lambda path: save(path, transparency=(10, 20, 30)), (255, 255, 255)),
    "upper.PNG": (lambda path: save(path), (10, 20, 30)),
    "lossless.webp": (lambda path: save(path, lossless=True), (10, 20, 30)),
    "still.gif": (lambda path: save(path, 77, mode="L"), (77, 77, 77)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_colours_are_what_a_person_sees(tmp_path, name):
    write, colour = PICTURES[name]
    write(tmp_path / name)
    assert colour_of(tmp_path / name) == colour
    luma = (colour[0] * 299 + colour[1] * 587 + colour[2] * 114) / 1000
    [grey] = grey_of(tmp_path / name)
    assert abs(grey - luma) <= 0.51


def test_a_clear_colour_of_16_bits_is_white(tmp_path):
    """Of pixels and of that colour alike Pillow and we take the upper 8 bits."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    clear, other = struct.pack(">3H", 1000, 2000, 3000), struct.pack(">3H", 40_000, 0, 0)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "clear.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"tRNS", clear)
        + chunk(b"IDAT", zlib.compress(b"\0" + clear + other))
        + chunk(b"IEND", b"")
    )
    left, right = datasets.read_image(path, (3, 1, 2)).permute(1, 2, 0)[0].tolist()
    assert left == [255, 255, 255]
    assert right == [40_000 >> 8, 0, 0]


def test_exif_turns_a_picture_upright(tmp_path):
    image = Image.new("L", (4, 2))
    image.putpixel((0, 0), 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: its first row is the right column
    image.save(tmp_path / "turned.png", exif=exif)
    upright = datasets.read_image(tmp_path / "turned.png", (1, 4, 2))
    assert upright[0].nonzero().tolist() == [[0, 1]]


def test_a_middle_square_is_cut_then_resized_with_antialiasing(tmp_path):
    values = noise(tmp_path / "wide.png", (11, 4))
    assert (
        datasets.folder(tmp_path, 4, progress=False)
        .images[0]
        .permute(1, 2, 0)
        .equal(torch.from_numpy(values[:, 3:7]))
    )
    stripes = np.zeros((8, 8), np.uint8)
    stripes[:, ::2] = 200
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    averaged = datasets.folder(tmp_path, 2, grey=True, progress=False).images
    assert averaged.shape == (1, 1, 2, 2)
    assert (averaged - 100.0).abs().max() < 20


def sixteen_bits(path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(path)


def floats(path):
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(path)


def truncated(path):
    noise(path, (64, 64))
    path.write_bytes(path.read_bytes()[:-2000])


def bomb(width, height):
    """The head of a PNG of that many pixels, without them."""

    def write(path):
        head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")

    return write


def ghost(path):
    """A PostScript program under the name of a picture."""
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")


BROKEN = {
    "16 bits": (sixteen_bits, "mode I;16.*only you know"),
    "floats": (floats, "mode F.*only you know"),
    "truncated": (truncated, "truncated|Truncated"),
    "text": (lambda path: path.write_text("no picture"), "cannot identify"),
    "empty": (lambda path: path.write_bytes(b""), "cannot identify"),
    "missing": (lambda path: None, "No such file"),
    "bomb": (bomb(60_000, 60_000), "exceeds limit"),
    "half a bomb": (bomb(10_000, 10_000), "exceeds limit"),
    "PostScript": (ghost, "cannot identify"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_picture_is_named(tmp_path, broken):
    write, message = BROKEN[broken]
    path = tmp_path / ("broken.tif" if broken == "floats" else "broken.png")
    write(path)
    with pytest.raises(DataError, match=rf"image .*broken\.(png|tif): got .*({message})"):
        datasets.read_image(path, (3, 4, 4))


# A folder


@pytest.fixture
def photos(tmp_path):
    """Forty pictures, some of them in folders."""
    root = tmp_path / "photos"
    for index in range(40):
        inside = ("", "a/", "a/b/")[index % 3]
        save(root / f"{inside}{index:02}.png", (index, 2 * index, 100))
    (root / "notes.txt").write_text("not a picture")
    return root


def read(root, size=4, **options):
    return datasets.folder(root, size, progress=False, **options)


def test_a_folder_is_read_in_an_order_that_is_fixed_and_mixed(photos):
    every = read(photos)
    assert every.images.shape == (40, 3, 4, 4)
    assert every.images.dtype == torch.uint8
    assert every.labelled.tolist() == []
    assert len(set(every.names)) == 40
    assert all((photos / name).is_file() for name in every.names)
    reds = [int(name[-6:-4]) for name in every.names]
    assert every.images[:, 0, 0, 0].tolist() == reds
    assert every.images[:, 1, 3, 3].tolist() == [2 * red for red in reds]
    assert every.names != sorted(every.names)
    assert every.names == sorted(every.names, key=lambda name: zlib.crc32(name.encode()))


def test_the_last_tenth_is_kept_for_tests_without_a_copy(photos):
    every, train, test = (read(photos, train=train) for train in (None, True, False))
    assert [*train.names, *test.names] == every.names
    assert len(test) == 4
    assert torch.cat([train.images, test.images]).equal(every.images)
    maps = [part.images.untyped_storage().nbytes() for part in (every, train, test)]
    assert len(set(maps)) == 1  # of each the storage is the whole map


def test_one_channel_of_grey(photos):
    grey = read(photos, grey=True)
    assert grey.images.shape == (40, 1, 4, 4)
    first = datasets.read_image(photos / grey.names[0], (1, 4, 4))
    assert grey.images[0].equal(first)


def test_files_are_read_once(photos, reads):
    read(photos)
    assert len(reads) == 40
    read(photos)
    read(photos, train=False)
    assert len(reads) == 40
    read(photos, size=5)
    read(photos, grey=True)
    assert len(reads) == 120
    for again in ({}, {"size": 5}, {"grey": True}):
        read(photos, **again)
    assert len(reads) == 120
    assert sorted(os.listdir(photos.parent)) == [
        ".photos-4-colour.pyro_infogan",
        ".photos-4-grey.pyro_infogan",
        ".photos-5-colour.pyro_infogan",
        "photos",
    ]


def touched(photos):
    about = (photos / "00.png").stat()
    os.utime(photos / "00.png", ns=(about.st_atime_ns, about.st_mtime_ns + 1))


def resized(photos):
    about = (photos / "00.png").stat()
    save(photos / "00.png", (200, 0, 0), (9, 9))
    os.utime(photos / "00.png", ns=(about.st_atime_ns, about.st_mtime_ns))


def disguised(photos):
    """Other pixels in a file of the same size and time, as copying programs may leave it."""
    about = (photos / "00.png").stat()
    data = bytearray((photos / "00.png").read_bytes())
    # What follows the picture is not looked at.
    data[-1] ^= 1
    # The clock of the file system moves in steps.
    while (photos / "00.png").stat().st_ctime_ns == about.st_ctime_ns:
        (photos / "00.png").write_bytes(data)
        os.utime(photos / "00.png", ns=(about.st_atime_ns, about.st_mtime_ns))


CHANGES = {
    "added": lambda photos: save(photos / "a" / "new.png"),
    "removed": lambda photos: (photos / "00.png").unlink(),
    "renamed": lambda photos: (photos / "00.png").rename(photos / "zero.png"),
    "touched": touched,
    "another size": resized,
    "disguised": disguised,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_read_anew(photos, reads, change):
    read(photos)
    CHANGES[change](photos)
    del reads[:]
    every = read(photos)
    assert len(reads) == len(every) == 40 + (change == "added") - (change == "removed")


def test_hidden_files_and_folders_are_left_out(photos):
    save(photos / ".hidden.png")
    save(photos / ".folder" / "inside.png")
    (photos / "folder.png").mkdir()
    os.mkfifo(photos / "pipe.png")
    assert len(read(photos)) == 40


def test_links_are_followed_but_not_in_circles(photos, tmp_path):
    save(tmp_path / "elsewhere" / "linked.png")
    (photos / "link").symlink_to(tmp_path / "elsewhere")
    (photos / "a" / "up").symlink_to(photos)
    (tmp_path / "elsewhere" / "back").symlink_to(photos)
    (photos / "self").symlink_to(photos / "self")
    names = read(photos).names
    assert len(names) == 41
    assert "link/linked.png" in names


def test_names_need_not_be_unicode(tmp_path):
    save(tmp_path / "photos" / os.fsdecode(b"\xff.png"))
    (tmp_path / "photos" / os.fsdecode(b"\xfe.png")).write_text("")
    with pytest.warns(UserWarning, match="left out"):
        assert len(read(tmp_path / "photos", on_broken=datasets.skip)) == 1


def break_some(photos, count):
    for index in range(count):
        (photos / f"broken{index:02}.png").write_text("no picture")


def test_broken_files_are_refused_together(photos):
    break_some(photos, 3)
    (photos / "dangling.png").symlink_to(photos / "nowhere")
    with pytest.raises(DataError, match="4 files that cannot be read") as raised:
        read(photos)
    for name in ("broken00", "broken01", "broken02", "dangling"):
        assert str(raised.value).count(f"image {photos / name}.png") == 1
    assert "..." not in str(raised.value)


def test_of_many_broken_files_ten_are_named(photos):
    break_some(photos, 12)
    with pytest.raises(DataError, match="12 files that cannot be read") as raised:
        read(photos)
    assert str(raised.value).count("image /") == 10
    assert "..." in str(raised.value)


def test_broken_files_are_left_out_and_remembered(photos, reads):
    break_some(photos, 2)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"2 files.*\n.*broken0[01].*\n") as warned:
            every = read(photos, on_broken=datasets.skip)
        assert warned[0].filename == __file__
        assert len(every) == 40
        reds = [int(name[-6:-4]) for name in every.names]
        assert every.images[:, 0, 0, 0].tolist() == reds
        assert len(reads) == 42
    with pytest.raises(DataError, match="2 files that cannot be read"):
        read(photos)
    assert len(reads) == 42
    for index in range(2):
        save(photos / f"broken{index:02}.png")
    assert len(read(photos)) == 42


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_what_passes_breaks_no_file(photos, monkeypatch, error):
    original, calls = Image.open, []

    def once(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 9:
            raise error
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", once)
    with pytest.raises(DataError, match=r"Too many open files|MemoryError"):
        read(photos, on_broken=datasets.skip)
    assert len(read(photos)) == 40


def test_what_to_do_about_broken_files_is_a_function(photos, reads):
    with pytest.raises(DataError, match=r"on_broken: got 'skip'"):
        read(photos, on_broken="skip")
    assert not reads


def test_a_folder_of_broken_files_alone(tmp_path):
    break_some(tmp_path, 2)
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(DataError, match="no file that can be read"),
    ):
        read(tmp_path, on_broken=datasets.skip)


def test_folders_without_pictures_are_refused(tmp_path):
    with pytest.raises(DataError, match="nothing there"):
        read(tmp_path / "missing")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file, expected a folder"):
        read(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "plan.pdf").write_text("Pillow only writes these")
    with pytest.raises(DataError, match="no pictures"):
        read(tmp_path / "empty")


def test_one_picture_leaves_none_to_train_on(tmp_path):
    save(tmp_path / "one" / "only.png")
    assert len(read(tmp_path / "one")) == len(read(tmp_path / "one", train=False)) == 1
    with pytest.raises(DataError, match="to train on: got none, expected two"):
        read(tmp_path / "one", train=True)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "64"])
def test_a_size_is_a_whole_number(photos, size):
    with pytest.raises(DataError, match="size"):
        read(photos, size)


def test_a_folder_that_cannot_be_listed_is_named(photos, monkeypatch):
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(DataError, match=r"photos/a/b: .*Permission denied"):
        read(photos)


def test_a_folder_beside_which_nothing_can_be_written(photos, tmp_path, monkeypatch):
    mkdir = type(photos).mkdir

    def closed(path, *args, **kwargs):
        if path.parent == photos.parent and "pyro_infogan" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return mkdir(path, *args, **kwargs)

    monkeypatch.setattr(type(photos), "mkdir", closed)
    with pytest.raises(DataError, match=r"Permission denied.*pass cache="):
        read(photos)
    assert len(read(photos, cache=tmp_path / "caches")) == 40
    assert len(os.listdir(tmp_path / "caches")) == 1


def test_a_bar_is_shown_while_reading(photos, capsys):
    datasets.folder(photos, 4)
    assert "reading" in capsys.readouterr().err
    datasets.folder(photos, 4)
    assert capsys.readouterr().err == ""


# SVHN


def write_svhn(root, name, images=20):
    root.mkdir(exist_ok=True)
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3, images), np.uint8)
    labels = np.arange(images, dtype=np.uint8)[:, None] % 10 + 1
    scipy.io.savemat(root / name, {"X": values, "y": labels}, do_compression=True)
    return values


@pytest.fixture
def unchecked(monkeypatch):
    """SVHN's and CelebA's files need not be the published ones."""
    for split, (url, name, _) in torchvision_datasets.SVHN.split_list.items():
        monkeypatch.setitem(torchvision_datasets.SVHN.split_list, split, [url, name, None])
    files = [(where, None, name) for where, _, name in torchvision_datasets.CelebA.file_list]
    monkeypatch.setattr(torchvision_datasets.CelebA, "file_list", files)


@pytest.mark.parametrize(("train", "name"), [(True, "train"), (False, "test")])
def test_svhn(tmp_path, unchecked, train, name):
    values = write_svhn(tmp_path, f"{name}_32x32.mat")
    digits = datasets.svhn(tmp_path, train)
    assert digits.images.shape == (20, 3, 32, 32)
    assert digits.images.dtype == torch.uint8
    assert digits.images.is_contiguous()
    assert digits.images[3].equal(torch.from_numpy(values[..., 3]).permute(2, 0, 1))
    assert digits.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2


def test_svhn_says_what_it_needs(tmp_path):
    message = rf"folder {tmp_path}: got no test_32x32.mat, .*with download=True"
    with pytest.raises(DataError, match=message):
        datasets.svhn(tmp_path, train=False)
    write_svhn(tmp_path, "test_32x32.mat")
    with pytest.raises(DataError, match="not the published ones"):
        datasets.svhn(tmp_path, train=False)


def test_a_download_that_fails_is_said(tmp_path, monkeypatch):
    from urllib.error import URLError

    for failure in (URLError("no network"), RuntimeError("no network"), TimeoutError("no network")):

        def fail(*_, failure=failure, **__):
            raise failure

        monkeypatch.setattr("torchvision.datasets.svhn.download_url", fail)
        with pytest.raises(DataError, match=r"no train_32x32.mat.*no network.*by hand"):
            datasets.svhn(tmp_path, download=True)


# CelebA

ATTRIBUTES = [f"Attribute_{index}" for index in range(40)]


def write_celeba(root, splits=(0, 0, 1, 2, 0, 2)):
    base = root / "celeba"
    names = [f"{index + 1:06}.jpg" for index in range(len(splits))]
    rows = {
        "list_eval_partition": [
            f"{name} {split}" for name, split in zip(names, splits, strict=True)
        ],
        "identity_CelebA": [f"{name} {index}" for index, name in enumerate(names)],
        "list_bbox_celeba": ["6", "image_id x_1 y_1 width height"]
        + [f"{name}    95  71  226 313" for name in names],
        "list_landmarks_align_celeba": ["6", "lefteye_x lefteye_y"]
        + [f"{name} 69  109" for name in names],
        "list_attr_celeba": ["6", " ".join(ATTRIBUTES) + " "]
        + [
            f"{name} " + " ".join(" 1" if (index + i) % 3 else "-1" for i in range(40))
            for index, name in enumerate(names)
        ],
    }
    for index, name in enumerate(names):
        path = base / "img_align_celeba" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (178, 218), "red")
        image.paste((40 * index, 100, 100), (35, 55, 143, 163))
        image.save(path, quality=100, subsampling=0)
    for name, lines in rows.items():
        (base / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return base


def test_celeba(tmp_path, unchecked, reads):
    write_celeba(tmp_path)
    for _ in range(2):
        train = datasets.celeba(tmp_path, size=16, progress=False)
        test = datasets.celeba(tmp_path, False, size=16, progress=False)
    assert len(reads) == 5
    assert train.names == ["000001.jpg", "000002.jpg", "000005.jpg"]
    assert test.names == ["000004.jpg", "000006.jpg"]
    assert train.images.shape == (3, 3, 16, 16)
    # Of the red outside the 108×108 in the middle nothing is left but what JPEG smears.
    inner = train.images[:, :, 2:-2, 2:-2].float()
    assert inner[:, 0].amax((1, 2)).sub(torch.tensor([0.0, 40.0, 160.0])).abs().max() <= 2
    assert inner[:, 1:].sub(100).abs().max() <= 2
    assert list(train.factors) == ATTRIBUTES
    assert all(factor.is_kind for factor in train.factors.values())
    assert train.factors["Attribute_0"].values.tolist() == [0, 1, 1]
    assert test.factors["Attribute_1"].values.tolist() == [1, 0]


def test_celeba_refuses_other_images(tmp_path, unchecked):
    base = write_celeba(tmp_path)
    save(base / "img_align_celeba" / "000002.jpg", size=(178, 178))
    (base / "img_align_celeba" / "000005.jpg").unlink()
    with pytest.raises(DataError, match="2 files that cannot be read") as raised:
        datasets.celeba(tmp_path, progress=False)
    assert "178×178, expected 178×218" in str(raised.value)
    assert "No such file" in str(raised.value)
    with pytest.warns(UserWarning, match="2 files"):
        rest = datasets.celeba(tmp_path, on_broken=datasets.skip, progress=False)
    assert rest.names == ["000001.jpg"]
    assert [factor.values.tolist() for factor in rest.factors.values()][:2] == [[0], [1]]


def test_celeba_is_where_it_is_said(tmp_path, unchecked, monkeypatch):
    """A tilde is the shell's to expand, here as in every other loader."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_celeba(tmp_path / "~")
    assert len(datasets.celeba("~", progress=False)) == 3


def test_celeba_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"celeba: got no list_attr_celeba.txt.*img_align_celeba.*"):
        datasets.celeba(tmp_path)
    with pytest.raises(DataError, match="in Python, with download=True"):
        datasets.celeba(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "gdown", None)
    with pytest.raises(DataError, match=r"'gdown' is required.*by hand"):
        datasets.celeba(tmp_path, download=True)
    write_celeba(tmp_path)
    with pytest.raises(DataError, match="not the published ones"):
        datasets.celeba(tmp_path)


@pytest.mark.parametrize("set_of", [datasets.svhn, datasets.celeba])
def test_nothing_is_fetched_unasked(tmp_path, monkeypatch, set_of):
    def fetched(*_, **__):
        pytest.fail("the network was used")

    monkeypatch.setattr("socket.socket.connect", fetched)
    monkeypatch.setattr("urllib.request.urlopen", fetched)
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", fetched)
    with pytest.raises(DataError, match="download=True"):
        set_of(tmp_path)
    assert os.listdir(tmp_path) == []


# Chairs


def write_chairs(root, chairs=20):
    for chair in range(chairs):
        for elevation in (20, 30):
            for azimuth in (0, 90, 271):
                name = f"image_{azimuth:03}_p{elevation:03}_t{azimuth:03}_r096.png"
                colour = (chair, elevation, azimuth % 256)
                save(root / f"{chair:032x}" / "renders" / name, colour, (12, 12))


@pytest.mark.parametrize("inside", ["", "rendered_chairs"])
def test_chairs(tmp_path, reads, inside):
    write_chairs(tmp_path / "chairs" / inside)
    train, test = (
        datasets.chairs(tmp_path / "chairs", part, size=6, progress=False) for part in (True, False)
    )
    assert len(reads) == 120
    assert (len(train), len(test)) == (108, 12)
    assert train.images.shape[1:] == (1, 6, 6)
    chairs = [{name.split("/")[0] for name in part.names} for part in (train, test)]
    assert [len(each) for each in chairs] == [18, 2]
    assert not chairs[0] & chairs[1]
    for views in (train, test):
        for index, name in enumerate(views.names):
            factors = {key: factor.values[index].item() for key, factor in views.factors.items()}
            assert name.startswith(f"{factors['model']:032x}/")
            assert f"p{round(math.degrees(factors['elevation'])):03}" in name
            assert f"t{round(math.degrees(factors['azimuth'])):03}" in name
            image = datasets.read_image(tmp_path / "chairs" / inside / name, (1, 6, 6))
            assert views.images[index].equal(image)
        # Mixed: a slice holds views of many chairs.
        first = views.factors["model"].values[: len(views) // 4]
        assert len(first.unique()) > len(views) // 40
    assert train.factors["azimuth"].period == 2 * math.pi
    assert train.factors["elevation"].period is None
    assert [train.factors[key].is_kind for key in ("azimuth", "elevation", "model")] == [
        False,
        False,
        True,
    ]


def test_a_view_that_is_none_is_named(tmp_path):
    write_chairs(tmp_path, 2)
    save(tmp_path / f"{0:032x}" / "renders" / "overview.png")
    with pytest.raises(DataError, match=r"got 0+/renders/overview\.png"):
        datasets.chairs(tmp_path, progress=False)


def test_too_few_chairs(tmp_path):
    with pytest.raises(DataError, match="0 chairs"):
        datasets.chairs(tmp_path, progress=False)
    with pytest.raises(DataError, match="nothing there"):
        datasets.chairs(tmp_path / "missing", progress=False)


def test_a_broken_view_is_left_out(tmp_path):
    write_chairs(tmp_path)
    broken = tmp_path / f"{3:032x}" / "renders" / "image_090_p030_t090_r096.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match="t090"):
        datasets.chairs(tmp_path, progress=False)
    with pytest.warns(UserWarning, match="t090"):
        parts = [
            datasets.chairs(tmp_path, part, size=6, on_broken=datasets.skip, progress=False)
            for part in (True, False)
        ]
    assert sum(map(len, parts)) == 119
    for part in parts:
        for image, name in zip(part.images, part.names, strict=True):
            assert image.equal(datasets.read_image(tmp_path / name, (1, 6, 6)))
            azimuth = part.factors["azimuth"].values[part.names.index(name)].item()
            assert f"t{round(math.degrees(azimuth)):03}" in name


# Faces


@pytest.fixture
def heads(tmp_path):
    root = tmp_path / "heads"
    for index in range(20):
        save(root / "a" / f"{index:02}.png", (index, index, index))
    return root


def table(
    root, *, rows=range(20), head="azimuth,file,light", row="{0}.5,a/{0:02}.png,-1e-1", more=()
):
    lines = [head, *(row.format(index) for index in rows), *more]
    (root / "factors.csv").write_text("\n".join(lines) + "\n")


def faces(root, **options):
    return datasets.faces(root, size=4, progress=False, **options)


def test_faces_with_a_table(heads):
    order = list(range(20))
    random.Random(0).shuffle(order)
    table(heads, rows=order)
    train, test = faces(heads), faces(heads, train=False)
    assert (len(train), len(test)) == (18, 2)
    assert train.images.shape == (18, 1, 4, 4)
    for part in (train, test):
        assert list(part.factors) == ["azimuth", "light"]
        shown = part.images[:, 0, 0, 0]
        assert part.factors["azimuth"].values.equal(shown + 0.5)
        assert part.factors["light"].values.unique().tolist() == pytest.approx([-0.1])
        assert not part.factors["light"].is_kind


def test_faces_without_a_table(heads):
    assert faces(heads).factors == {}
    assert faces(heads).names == datasets.folder(heads, 4, True, train=True, progress=False).names


def test_a_table_as_spreadsheets_write_it(heads):
    table(heads)
    text = (heads / "factors.csv").read_text()
    (heads / "factors.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert list(faces(heads).factors) == ["azimuth", "light"]


def test_words_of_a_table_are_kinds_and_labels(heads):
    """Numbered by the alphabet; a label may be missing, and one that is a number stays it."""
    places, birds = ["shore", "harbour", "sea"], ["tern", "gull", ""]
    rows = [f"a/{index:02}.png,{places[index % 3]},{birds[index % 3]}" for index in range(20)]
    (heads / "factors.csv").write_text("\n".join(["file,place,label", *rows]))
    found = datasets.folder(heads, 4, progress=False)
    index = torch.tensor([int(name[2:4]) for name in found.names])
    assert list(found.factors) == ["place"]
    assert found.factors["place"].is_kind
    assert found.factors["place"].values.equal(torch.tensor([2, 0, 1])[index % 3])
    assert found.labels.equal(torch.tensor([1, 0, -1])[index % 3])
    rows = [f"a/{index:02}.png,{[7, 3, ''][index % 3]}" for index in range(20)]
    (heads / "factors.csv").write_text("\n".join(["file,label", *rows]))
    found = datasets.folder(heads, 4, progress=False, train=True)
    index = torch.tensor([int(name[2:4]) for name in found.names])
    assert found.factors == {}
    assert found.labels.equal(torch.tensor([7, 3, -1])[index % 3])


BAD_TABLES = {
    "a missing row": ({"rows": range(19)}, r"no line for 1 images, such as a/19\.png"),
    "an unknown file": ({"rows": range(21)}, r"line 22: 20\.5,a/20\.png,-1e-1, .*not 'a/20\.png'"),
    "a file twice": ({"rows": [0, *range(20)]}, r"line 3: .*one line of 'a/00\.png', not two"),
    "a word among numbers": (
        {"row": "{0},a/{0:02}.png,1", "rows": [*range(19)], "more": ["left,a/19.png,1"]},
        "'left' in column azimuth, expected finite numbers for every image, or words",
    ),
    "a number among words": (
        {"row": "left,a/{0:02}.png,1", "rows": [*range(19)], "more": ["3,a/19.png,1"]},
        "'left' in column azimuth",
    ),
    "an empty cell": ({"row": ",a/{0:02}.png,1"}, "'' in column azimuth, expected finite numbers"),
    "NaN": ({"row": "nan,a/{0:02}.png,1"}, "finite numbers"),
    "infinity": ({"row": "inf,a/{0:02}.png,1"}, "finite numbers"),
    "infinity of float32": ({"row": "1e39,a/{0:02}.png,1"}, "finite numbers"),
    "a short row": ({"row": "1,a/{0:02}.png"}, "line 2: 1,a.*a cell for each of azimuth, light"),
    "a long row": ({"row": "1,a/{0:02}.png,1,1"}, "a cell for each of azimuth, light"),
    "a row of one cell": ({"row": "1"}, "not ''"),
    "no file column": ({"head": "azimuth,name,light"}, "one named file"),
    "no factors": ({"head": "file", "row": "a/{0:02}.png"}, "one named file"),
    "a column twice": ({"head": "azimuth,file,azimuth"}, "its own name"),
    "a column without a name": ({"head": ",file,azimuth"}, "its own name"),
    "an open quote": ({"row": '"1,a/{0:02}.png,1'}, "a table in UTF-8"),
}


@pytest.mark.parametrize("bad", BAD_TABLES)
def test_a_bad_table_is_refused(heads, bad):
    options, message = BAD_TABLES[bad]
    table(heads, **options)
    with pytest.raises(DataError, match=message):
        faces(heads)


def test_a_table_that_is_no_text(heads):
    for content in (b"", b"\xff\xfe\x00"):
        (heads / "factors.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"factors\.csv"):
            faces(heads)
    (heads / "factors.csv").unlink()
    (heads / "factors.csv").mkdir()
    with pytest.raises(DataError, match="Is a directory"):
        faces(heads)


def test_a_broken_face_is_left_out_with_its_line(heads):
    (heads / "a" / "07.png").write_bytes(b"no picture")
    table(heads)
    with pytest.raises(DataError, match=r"07\.png"):
        faces(heads)
    with pytest.warns(UserWarning, match=r"07\.png"):
        train, test = (faces(heads, train=part, on_broken=datasets.skip) for part in (True, False))
    assert len(train) + len(test) == 19
    for part in (train, test):
        assert part.factors["azimuth"].values.equal(part.images[:, 0, 0, 0] + 0.5)


# dSprites


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def sprites(images=50):
    """Arrays such as the published file has; each image tells its own number by two pixels."""
    index = np.arange(images)
    imgs = np.zeros((images, 64, 64), np.uint8)
    imgs[index, 0, index % 64] = 1
    imgs[index, 1, index // 64] = 1
    classes = np.stack([0 * index, index % 3, index, index, index, index], 1)
    values = np.stack([0 * index + 1, index % 3 + 1, index, index, index, index], 1).astype(float)
    values[:, 2:] *= [1.0, 0.1, 0.01, 0.001]
    return {"imgs": imgs, "latents_classes": classes, "latents_values": values}


@pytest.fixture
def npz(tmp_path):
    """The path of an archive, and what would be there if its metadata were unpickled."""
    metadata = np.array(Bomb(tmp_path / "exploded"), dtype=object)

    def write(**changes):
        arrays = {"metadata": metadata, **sprites(), **changes}
        path = tmp_path / "sprites" / "dsprites.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(
            path, **{key: value for key, value in arrays.items() if value is not None}
        )
        return path

    yield write
    assert not (tmp_path / "exploded").exists()


def test_dsprites(npz, monkeypatch):
    path = npz(**sprites(1000))
    train = datasets.dsprites(path, progress=False)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("read again"))
    test = datasets.dsprites(path, train=False, progress=False)
    assert (len(train), len(test)) == (900, 100)
    assert train.images.shape == (900, 1, 64, 64)
    assert train.images.dtype == torch.uint8
    assert train.images.unique().tolist() == [0, 255]
    assert list(train.factors) == ["shape", "scale", "orientation", "x", "y"]
    numbers = []
    for part in (train, test):
        number = part.images[:, 0, 0].argmax(1) + 64 * part.images[:, 0, 1].argmax(1)
        assert part.factors["shape"].values.equal(number % 3)
        for name, unit in (("scale", 1.0), ("orientation", 0.1), ("x", 0.01), ("y", 0.001)):
            torch.testing.assert_close(part.factors[name].values, number * unit)
        numbers += number.tolist()
    assert sorted(numbers) == list(range(1000))
    # The order is mixed, and the same in all versions.
    assert numbers[:4] == [524, 29, 247, 551]
    assert abs(np.corrcoef(numbers, range(1000))[0, 1]) < 0.1
    assert train.factors["shape"].is_kind
    assert train.factors["orientation"].period == 2 * math.pi
    assert train.factors["x"].period is None


def test_another_archive_is_unpacked_anew(npz):
    first = datasets.dsprites(npz(), progress=False)
    path = npz(**sprites(60))
    assert len(first) == 45
    assert len(datasets.dsprites(path, progress=False)) == 54


def edited(**changes):
    return lambda npz: npz(**changes)


def renamed_header(old, new):
    """An archive with another header of the images than its data fit."""

    def write(npz):
        path = npz()
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        assert members["imgs.npy"].count(old) == 1
        members["imgs.npy"] = members["imgs.npy"].replace(old, new)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return path

    return write


def flipped(npz):
    path = npz()
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("imgs.npy").header_offset + 200] ^= 255
    path.write_bytes(data)
    return path


def halved(npz):
    path = npz()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def removed(npz):
    path = npz()
    path.unlink()
    return path


S = sprites()
BAD_ARCHIVES = {
    "missing": (removed, "No such file"),
    "halved": (halved, "not a zip file"),
    "damaged": (flipped, ""),
    "no images": (edited(imgs=None), "imgs"),
    "no latents": (edited(latents_values=None), "latents_values"),
    "other sides": (edited(imgs=S["imgs"][:, 1:]), r"\(50, 63, 64\)"),
    "other type": (edited(imgs=S["imgs"].astype(np.uint16)), "uint16"),
    "floats": (edited(imgs=S["imgs"].astype(np.float32)), "float32"),
    "pickled images": (edited(imgs=np.array([None] * 50)), "imgs"),
    "pickled latents": (edited(latents_values=np.array([[None] * 6] * 50)), "object"),
    "no axes": (edited(imgs=np.uint8(1)), r"\(\)"),
    "none": (edited(**sprites(0)), r"\(0, "),
    "more images": (edited(**{**S, "imgs": sprites(51)["imgs"]}), "51 images"),
    "fewer classes": (edited(latents_classes=S["latents_classes"][1:]), "49"),
    "fewer latents": (edited(latents_values=S["latents_values"][:, 1:]), r"\(50, 5\)"),
    "whole latents": (edited(latents_values=S["latents_classes"]), "int64"),
    "other shapes": (edited(latents_classes=S["latents_classes"] + 1), "shapes 1 to 3"),
    "a shape below": (edited(latents_classes=S["latents_classes"] - 1), "shapes -1 to 1"),
    "no number": (edited(latents_values=S["latents_values"] * np.nan), "not finite"),
    "beyond 32 bits": (edited(latents_values=S["latents_values"] * 1e300), "not finite"),
    "other pixels": (edited(imgs=S["imgs"] * 2), "a pixel of 2"),
    "by columns": (edited(imgs=np.asfortranarray(S["imgs"])), "imgs"),
    "declares more": (renamed_header(b"(50, 64", b"(99, 64"), r"\(99, 64"),
    "declares a type": (renamed_header(b"|u1", b"|u8"), "imgs"),
}


@pytest.mark.parametrize("bad", BAD_ARCHIVES)
def test_a_bad_archive_is_refused(npz, bad):
    write, message = BAD_ARCHIVES[bad]
    path = write(npz)
    with pytest.raises(DataError, match=rf"dSprites .*{message}.*expected the published"):
        datasets.dsprites(path, progress=False)
    assert set(os.listdir(path.parent)) <= {path.name}


def test_an_archive_larger_than_the_published_one_is_not_unpacked(npz, monkeypatch):
    module = importlib.import_module("pyro_infogan.datasets.dsprites")
    path = npz()
    assert module._MOST == 737_280
    monkeypatch.setattr(module, "_MOST", 49)
    monkeypatch.setattr(module._Member, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(DataError, match=r"latents_classes of \(50, 6\)"):
        datasets.dsprites(path, progress=False)


def test_suffixes_are_those_of_pictures():
    known = reading.suffixes()
    assert {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif"} <= known
    assert not {".pdf", ".eps", ".ps", ".h5", ".mpg", ".txt", ".csv", ".npy"} & known
