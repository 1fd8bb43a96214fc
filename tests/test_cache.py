"""Caches are whole or not there, follow their key, and never run code."""

import errno
import json
import mmap
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_infogan.datasets import cache
from pyro_infogan.datasets.cache import cached, home, place_for
from pyro_infogan.errors import DataError

KEY = {"set": "counts", "size": 3, "parts": (1, 2)}


class Counted:
    """Writes the same two arrays each time, and counts the times."""

    def __init__(self):
        self.times = 0

    def __call__(self, writer):
        self.times += 1
        writer.array("images", (5, 1, 2, 2), np.uint8)[:] = np.arange(20).reshape(5, 1, 2, 2)
        writer.array("values", (5,), np.float32)[:] = 0.5


@pytest.fixture
def place(tmp_path):
    return tmp_path / "caches" / "counts"


def check(arrays):
    assert arrays["images"].tolist() == np.arange(20).reshape(5, 1, 2, 2).tolist()
    assert arrays["values"].tolist() == [0.5] * 5
    assert arrays["values"].dtype == np.float32


def test_a_cache_is_made_once_and_mapped(place):
    make = Counted()
    for _ in range(3):
        arrays = cached(place, KEY, make)
        check(arrays)
        assert isinstance(arrays["images"].base, mmap.mmap)
    assert make.times == 1
    assert sorted(os.listdir(place)) == ["cache.json", "images.npy", "values.npy"]
    assert os.listdir(place.parent) == ["counts"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_an_array_larger_than_memory_is_mapped(place, monkeypatch):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    swap = int(re.findall(r"SwapTotal: +(\d+) kB", Path("/proc/meminfo").read_text())[0]) << 10
    length = (memory + swap) * 5 // 4 >> 20
    times = []
    # As a hole, so that it takes no room on the disk.
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: None)

    def make(writer):
        times.append(1)
        writer.array("images", (length, 1 << 20), np.uint8)

    for _ in range(2):
        images = torch.from_numpy(cached(place, KEY, make)["images"])
        images[-1, -1] = 3
        assert images[[0, -1], -1].tolist() == [0, 3]
    assert times == [1]


def test_what_cannot_be_mapped_is_said_and_not_made_again(place, monkeypatch):
    make = Counted()
    cached(place, KEY, make)

    def refused(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refused)
    with pytest.raises(DataError, match=r"allocate memory.*ulimit"):
        cached(place, KEY, make)
    assert make.times == 1


def test_an_error_that_passes_does_not_have_it_made_again(place, monkeypatch):
    make = Counted()
    cached(place, KEY, make)
    whole = Path.read_bytes

    def refused(path):
        if path.name == "cache.json":
            raise OSError(errno.EMFILE, "Too many open files")
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        with pytest.raises(DataError, match=r"Too many open files.*Try again"):
            cached(place, KEY, make)
    cached(place, KEY, make)
    assert make.times == 1


def read_at_once(place, together, told):
    together.wait()
    try:
        told.put(cached(place, KEY, Counted())["values"].tolist())
    except DataError as error:
        told.put(str(error))


def test_many_that_begin_at_once_all_have_it(place):
    """A folder that is begun is not swept, and none looks while one is put in place."""
    context, many = multiprocessing.get_context("fork"), 8
    together, told = context.Barrier(many), context.Queue()
    for _ in range(15):
        processes = [
            context.Process(target=read_at_once, args=(place, together, told)) for _ in range(many)
        ]
        for process in processes:
            process.start()
        assert [told.get() for _ in processes] == [[0.5] * 5] * many
        for process in processes:
            process.join()
        assert os.listdir(place.parent) == ["counts"]
        shutil.rmtree(place)


@pytest.mark.skipif(sys.platform == "win32", reason="locks folders")
def test_a_folder_begun_again_while_it_is_swept_is_left_alone(place, monkeypatch):
    """Of three: the first looks at a folder, the second sweeps it, its owner begins it again."""
    left = place.with_name(f"{place.name}.1-2")
    left.mkdir(parents=True)
    lock = cache.fcntl.flock

    def overtaken(folder, kind):
        left.rmdir()
        left.mkdir()
        (left / "values.npy").touch()
        lock(folder, kind)

    monkeypatch.setattr(cache.fcntl, "flock", overtaken)
    cache._sweep(place)
    assert [path.name for path in left.iterdir()] == ["values.npy"]


def test_what_is_changed_stays_in_memory(place):
    images = torch.from_numpy(cached(place, KEY, Counted())["images"])
    images.fill_(7)
    check(cached(place, KEY, Counted()))


def test_an_empty_array_is_kept(place):
    def make(writer):
        writer.array("none", (0, 3), np.int64)

    for _ in range(2):
        assert cached(place, KEY, make)["none"].shape == (0, 3)


@pytest.mark.parametrize("key", [{**KEY, "size": 4}, {**KEY, "size": 3.5}, {"set": "counts"}, {}])
def test_another_key_makes_it_anew(place, key):
    make = Counted()
    cached(place, KEY, make)
    check(cached(place, key, make))
    assert make.times == 2
    cached(place, key, make)
    assert make.times == 2
    assert os.listdir(place.parent) == ["counts"]


class Bomb:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def cut(place):
    path = place / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(place):
    with (place / "images.npy").open("ab") as file:
        file.write(b"0")


def pickled(place):
    (place / "values.npy").write_bytes(pickle.dumps(Bomb(place.parent / "exploded")))


def pickled_inside(place):
    values = np.array([Bomb(place.parent / "exploded")] * 5, dtype=object)
    np.save(place / "values.npy", values, allow_pickle=True)
    record(lambda said: said["arrays"]["values"].update(dtype="|O"))(place)


def outside(place):
    np.save(place.parent / "elsewhere.npy", np.zeros(5))
    about = {"shape": [5], "dtype": "<f8"}
    record(lambda said: said["arrays"].update({"../elsewhere": about}))(place)


def record(change):
    def damage(place):
        said = json.loads((place / "cache.json").read_text())
        change(said)
        (place / "cache.json").write_text(json.dumps(said))

    return damage


DAMAGES = {
    "cut": cut,
    "lengthened": lengthen,
    "empty": lambda place: (place / "images.npy").write_bytes(b""),
    "gone": lambda place: (place / "values.npy").unlink(),
    "another shape": lambda place: np.save(place / "images.npy", np.zeros((5, 4), np.uint8)),
    "another type": lambda place: np.save(place / "values.npy", np.zeros(5, np.int32)),
    "pickled": pickled,
    "pickled inside": pickled_inside,
    "no json": lambda place: (place / "cache.json").write_text('{"format": 1, "key"'),
    "another json": lambda place: (place / "cache.json").write_text("[]"),
    "bytes": lambda place: (place / "cache.json").write_bytes(b"\xff\xfe"),
    "no arrays": record(lambda said: said.pop("arrays")),
    "another format": record(lambda said: said.update(format=0)),
    "outside": outside,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_anew(place, damage):
    make = Counted()
    cached(place, KEY, make)
    DAMAGES[damage](place)
    arrays = cached(place, KEY, make)
    check(arrays)
    assert arrays.keys() == {"images", "values"}
    assert make.times == 2
    assert not (place.parent / "exploded").exists()
    cached(place, KEY, make)
    assert make.times == 2


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError, DataError])
@pytest.mark.parametrize("before", [True, False])
def test_a_failure_leaves_what_was_there(place, failure, before):
    make = Counted()
    if before:
        cached(place, KEY, make)

    def fail(writer):
        writer.array("images", (5, 1, 2, 2), np.uint8)
        assert len(os.listdir(place.parent)) == 1 + before  # the one being built
        raise failure("stop")

    with pytest.raises(failure, match="stop"):
        cached(place, {**KEY, "size": 9}, fail)
    assert os.listdir(place.parent) == ["counts"] * before
    if before:
        check(cached(place, KEY, make))
        assert make.times == 1


@pytest.mark.parametrize("at", ["flush", "fsync", "rename"])
def test_an_interrupt_while_finishing_leaves_no_part(place, monkeypatch, at):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "flush":
            patch.setattr(np.memmap, "flush", stop)
        elif at == "fsync":
            patch.setattr(os, "fsync", stop)
        else:
            patch.setattr(type(place), "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            cached(place, KEY, Counted())
    assert os.listdir(place.parent) == []
    check(cached(place, KEY, Counted()))


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


KILLED = """
import os, signal, sys
from pathlib import Path
from pyro_infogan.datasets.cache import cached

def make(writer):
    writer.array("half", (10,), "u1")
    os.kill(os.getpid(), signal.SIGKILL)

cached(Path(sys.argv[1]), {}, make)
"""


def test_what_a_killed_process_left_is_swept_and_what_another_builds_is_not(place):
    subprocess.run([sys.executable, "-c", KILLED, str(place)], check=False)
    (left,) = place.parent.iterdir()
    seen = []

    def make(writer):
        # One that builds the same cache meanwhile, in another thread.
        other = threading.Thread(target=cached, args=(place, KEY, Counted()))
        other.start()
        other.join()
        seen.extend(path.name for path in place.parent.iterdir())
        Counted()(writer)

    check(cached(place, KEY, make))
    assert left.name not in seen
    assert len(seen) == 2  # the other's cache, and the one that is being built
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("call", ["posix_fallocate", "fsync"])
def test_a_full_disk_is_said(place, monkeypatch, call):
    monkeypatch.setattr(os, call, full)
    with pytest.raises(DataError, match=r"No space left.*room.*cache="):
        cached(place, KEY, Counted())
    assert os.listdir(place.parent) == []


def test_room_is_taken_before_it_is_written_to(place):
    size = 4 << 20

    def make(writer):
        array = writer.array("zeros", (size,), np.uint8)
        assert os.stat(array.filename).st_blocks * 512 >= size

    cached(place, KEY, make)


def test_a_place_that_cannot_be_written_to_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "counts"):
        with pytest.raises(DataError, match=r"Not a directory.*cache="):
            cached(place, KEY, Counted())


def test_another_folder_is_not_replaced(place):
    place.mkdir(parents=True)
    check(cached(place, KEY, Counted()))
    (place / "thesis.txt").write_text("dear")
    (place / "cache.json").unlink()
    with pytest.raises(DataError, match=r"thesis\.txt.*cache="):
        cached(place, KEY, Counted())
    (place / "thesis.txt").unlink()
    with pytest.raises(DataError, match="no record of them"):
        cached(place, KEY, Counted())
    assert len(os.listdir(place)) == 2


@pytest.mark.parametrize("name", ["../images", "a/b", "", ".", "a.b", "é"])
def test_names_stay_inside(place, name):
    with pytest.raises(DataError, match="a word"):
        cached(place, KEY, lambda writer: writer.array(name, (1,), np.uint8))
    assert os.listdir(place.parent) == []


def test_what_another_process_put_there_is_left(place):
    make = Counted()
    cached(place, KEY, make)
    rename = type(place).rename

    def late(path, target):
        moved = rename(path, target)
        if path == place:
            place.mkdir()
            (place / "theirs").touch()
        return moved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(place), "rename", late)
        with pytest.raises(DataError, match="to one process"):
            cached(place, {}, make)
    assert os.listdir(place) == ["theirs"]
    assert os.listdir(place.parent) == ["counts"]


def test_a_swap_while_reading_is_noticed(place, monkeypatch):
    """On a disk without locks."""
    monkeypatch.setattr(cache, "_locked", lambda *_, **__: nullcontext(False))
    make = Counted()
    cached(place, KEY, make)
    mapped = cache._mapped

    def swapped(*args, **about):
        monkeypatch.setattr(cache, "_mapped", mapped)
        cached(place, {}, make)
        return mapped(*args, **about)

    monkeypatch.setattr(cache, "_mapped", swapped)
    check(cached(place, KEY, make))
    assert make.times == 3


def test_home_is_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path / "own"))
    assert home() == tmp_path / "own"
    monkeypatch.delenv("PYRO_INFOGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "pyro_infogan"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "pyro_infogan"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    with pytest.raises(DataError, match="PYRO_INFOGAN_CACHE"):
        home()


def homeless(_):
    raise RuntimeError("Could not determine home directory.")


def test_what_cannot_be_kept_at_home_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="set PYRO_INFOGAN_CACHE"):
        cached(home() / "counts", KEY, Counted())


@pytest.mark.parametrize("length", [2**62, 10**30])
def test_a_size_beyond_any_disk_is_said(place, length):
    with pytest.raises(DataError, match=r"room for [\d,.]+ MiB"):
        cached(place, KEY, lambda writer: writer.array("images", (length, 8), np.uint8))
    assert os.listdir(place.parent) == []


def test_places_are_hidden_beside_or_told_apart_elsewhere(tmp_path):
    a, b = tmp_path / "a" / "images", tmp_path / "b" / "images"
    a.parent.mkdir()
    assert place_for(a, "8-grey", None) == tmp_path / "a" / ".images-8-grey.pyro_infogan"
    elsewhere = {place_for(source, "8-grey", tmp_path / "c") for source in (a, b)}
    assert len(elsewhere) == 2
    assert {place.parent for place in elsewhere} == {tmp_path / "c"}


def test_a_place_that_the_user_names_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_INFOGAN_CACHE", str(tmp_path / "own"))
    assert place_for(tmp_path / "images", "8-grey", None).parent == tmp_path / "own"


def test_beside_what_is_read_only_there_is_none(monkeypatch, tmp_path):
    monkeypatch.delenv("PYRO_INFOGAN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    images = tmp_path / "a" / "images"
    beside = place_for(images, "8-grey", None)
    monkeypatch.setattr(os, "access", lambda path, mode: path != images.parent)
    assert place_for(images, "8-grey", None) == place_for(images, "8-grey", home())
    # Unless whoever owns it has made it.
    beside.mkdir(parents=True)
    assert place_for(images, "8-grey", None) == beside


def test_names_of_any_length_have_a_place(tmp_path):
    made = {
        place_for(tmp_path / (letter * 120 + last), "64-colour", elsewhere)
        for letter in "aé"
        for last in "xy"
        for elsewhere in (None, tmp_path / "c")
    }
    assert len(made) == 8
    for place in made:
        check(cached(place, KEY, Counted()))
