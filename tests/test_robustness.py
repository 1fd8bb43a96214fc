"""Runs that survive whatever stops them, and files that are safe whatever is in them."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pyro_infogan import InfoGAN, runs
from pyro_infogan.errors import RunError, Stopped
from pyro_infogan.inference import Step
from pyro_infogan.inference.guidance import Alternating, Mixed
from pyro_infogan.runs import Run
from pyro_infogan.training import metrics
from tests.killed import at_step, fit

SOAK = bool(os.environ.get("SOAK"))
KILLS = 200 if SOAK else 20


def same(one, other):
    """Whether two checkpoints' contents are equal, bit by bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def lines(folder):
    return [
        {key: value for key, value in line.items() if key != "images_per_s"}
        for line in Run(folder).metrics()
    ]


def check_same_end(one, other):
    """All that a run leaves: weights, optimisers, random states, sums, metrics."""
    (step, path), (other_step, other_path) = (
        Run(folder).checkpoints()[-1] for folder in (one, other)
    )
    assert step == other_step
    mine, theirs = runs.read(path), runs.read(other_path)
    assert {"weights", "optimisers", "random", "log"} < set(mine)
    assert set(mine["optimisers"]) == {"discriminator", "generator", "prior"}
    assert same(mine, theirs)
    assert lines(one) == lines(other)
    steps = [line["step"] for line in lines(one)]
    assert steps == sorted({*range(10, step + 1, 10), step})


# Exact resume


@pytest.mark.parametrize("schedule", [Mixed(0.25), Alternating(0.3)], ids=["mixed", "alternating"])
def test_stopped_at_any_step_and_resumed(schedule, tmp_path):
    fit(tmp_path / "whole", 33, schedule)
    for steps in (1, 9, 10, 14, 20, 33):
        fit(tmp_path / "parts", steps, schedule)
    check_same_end(tmp_path / "whole", tmp_path / "parts")


# Killed


class Victim:
    """The process of ``killed.py``."""

    def __init__(self):
        root = str(Path(__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", "from tests.killed import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            text=True,
            env=environment,
        )
        assert self.answer() == "ready"

    def answer(self):
        return self.process.stdout.readline().strip()

    def start(self, folder, steps):
        self.process.stdin.write(f"{folder} {steps}\n")
        self.process.stdin.flush()
        return int(self.answer())

    def run(self, folder, steps):
        self.start(folder, steps)
        return int(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def victim():
    process = Victim()
    yield process
    process.close()


FOREVER = 10_000_000


def test_killed_at_any_moment(victim, tmp_path):
    chance = random.Random(4)
    folder = tmp_path / "killed"
    child, started = victim.start(folder, FOREVER), time.monotonic()
    while not Run(folder).checkpoints():
        time.sleep(0.005)
    # A third of the kills come while the process sets out, the others while it steps and saves.
    setting_out = time.monotonic() - started
    reached = []
    for kill in range(KILLS):
        if kill:
            child = victim.start(folder, FOREVER)
            time.sleep(chance.uniform(0.0, 1.5 * setting_out))
        os.kill(child, signal.SIGKILL)
        assert int(victim.answer()) == -signal.SIGKILL
        kept = Run(folder).checkpoints()
        reached.append(kept[-1][0] if kept else 0)
        for _, path in kept:
            runs.read(path)
    assert reached == sorted(reached)
    assert len(set(reached)) > 1
    steps = reached[-1] + 7
    assert victim.run(folder, steps) == 0
    assert victim.run(tmp_path / "whole", steps) == 0
    check_same_end(folder, tmp_path / "whole")
    assert not list(folder.glob("**/.*")), "nothing half-written is left"
    print(f"{KILLS} kills, {len(set(reached))} different checkpoints, {steps} steps")


# Signals


@contextmanager
def heard(handler=signal.default_int_handler, number=signal.SIGINT):
    """Inside, a signal has a handler, whatever this process was started with; it must be kept."""
    before = signal.signal(number, handler)
    try:
        yield
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(number, tmp_path, monkeypatch):
    with heard(number=number), monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", at_step(7, lambda: signal.raise_signal(number)))
        with pytest.raises(Stopped, match=r"after step 7, saved as .*7\.pt; go on") as stop:
            fit(tmp_path / "parts", 23, save_every=100)
    assert stop.value.signal == number
    assert isinstance(stop.value, KeyboardInterrupt)
    assert [step for step, _ in Run(tmp_path / "parts").checkpoints()] == [7]
    fit(tmp_path / "parts", 23)
    fit(tmp_path / "whole", 23)
    check_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Step, "__call__", at_step(7, twice))
    with heard(), pytest.raises(Stopped, match="at once"):
        fit(tmp_path, 23, save_every=5)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [5]


def test_a_signal_that_is_ignored_stays_so(tmp_path, monkeypatch):
    """As of a process that a shell started in the background."""
    monkeypatch.setattr(Step, "__call__", at_step(3, lambda: signal.raise_signal(signal.SIGINT)))
    with heard(signal.SIG_IGN):
        fit(tmp_path, 11)
    assert Run(tmp_path).checkpoints()[-1][0] == 11


def test_other_threads_leave_signals_alone(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def look():
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])

    def work():
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Step, "__call__", at_step(1, look))
            fit(tmp_path, 2)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


# Disks and folders


def test_one_process_at_a_time(victim, tmp_path):
    child = victim.start(tmp_path, FOREVER)
    while not Run(tmp_path).checkpoints():
        time.sleep(0.01)
    with pytest.raises(RunError, match="another process"):
        fit(tmp_path, 5)
    os.kill(child, signal.SIGTERM)
    assert int(victim.answer()) == 128 + signal.SIGTERM
    newest = Run(tmp_path).checkpoints()[-1][0]
    # The dead hold no lock.
    fit(tmp_path, newest + 1)
    assert Run(tmp_path).checkpoints()[-1][0] == newest + 1


def test_a_full_disk_keeps_the_last_good_state(tmp_path, monkeypatch):
    real, writes = os.fsync, []

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > 16:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(runs.os, "fsync", full)
        with pytest.raises(RunError, match=r"No space left.*(room|written to)"):
            fit(tmp_path / "parts", 23)
    assert Run(tmp_path / "parts").checkpoints()
    assert not list(tmp_path.glob("**/.*"))
    fit(tmp_path / "parts", 23)
    fit(tmp_path / "whole", 23)
    check_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_full_disk_in_the_middle_of_a_line(tmp_path, monkeypatch):
    real = Run.append

    def cut(self, line):
        if line["step"] == 20:
            with self.metrics_file.open("a") as file:
                file.write('{"step": 20, "los')
            raise RunError("disk", got="no room", expected="room", fix="Free some.")
        real(self, line)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "append", cut)
        with pytest.raises(RunError, match="no room"):
            fit(tmp_path / "parts", 33)
    fit(tmp_path / "parts", 33)
    fit(tmp_path / "whole", 33)
    check_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_folder_that_goes_missing(tmp_path, monkeypatch):
    folder, moved = tmp_path / "run", tmp_path / "moved"
    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", at_step(7, lambda: folder.rename(moved)))
        with pytest.raises(RunError, match=r"No such file.*--resume"):
            fit(folder, 23)
    assert not folder.exists()
    moved.rename(folder)
    assert Run(folder).checkpoints()[-1][0] == 6
    fit(folder, 23)
    fit(tmp_path / "whole", 23)
    check_same_end(tmp_path / "whole", folder)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "nul\0", "/proc/run"):
        with pytest.raises(RunError, match="written to"):
            fit(folder, 2)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_is_really_full(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting is not permitted")
    try:
        with pytest.raises(RunError, match=r"(?i)space|write"):
            fit(tmp_path / "run", 60)
        InfoGAN(*declared(), **settings()).restore(tmp_path / "run")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def declared():
    from tests.killed import Codes

    return Codes(), (1, 8, 8)


def settings():
    from tests.killed import tiny

    return {"noise": 2, "networks": tiny}


def test_clocks_that_jump(tmp_path, monkeypatch):
    times = iter([0.0, 0.0, -5.0, 1e9] + [3.0] * 1_000)
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: next(times))
    fit(tmp_path, 20)
    (_, older), (_, newer) = Run(tmp_path).checkpoints()
    # The newest is the one of the last step, whatever the files' times say.
    os.utime(newer, (0, 0))
    assert Run(tmp_path).newest()[0] == newer
    assert older.exists()


def test_half_written_files_of_the_dead_are_swept(tmp_path):
    fit(tmp_path, 4)
    left = [tmp_path / "checkpoints" / ".step-00000006.pt.77", tmp_path / ".run.json.77"]
    kept = [tmp_path / ".notes", tmp_path / ".run.json.mine", tmp_path / ".report.json.77"]
    for path in (*left, *kept):
        path.write_bytes(b"half")
    fit(tmp_path, 5)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)


def test_a_damaged_newest_checkpoint_costs_only_its_steps(tmp_path):
    fit(tmp_path / "parts", 12)
    (_, older), (_, newest) = Run(tmp_path / "parts").checkpoints()
    whole = bytearray(newest.read_bytes())
    whole[len(whole) // 2] ^= 1
    newest.write_bytes(whole)
    with pytest.warns(UserWarning, match=rf"{newest.name}.*{older.name}"):
        fit(tmp_path / "parts", 21)
    fit(tmp_path / "whole", 21)
    check_same_end(tmp_path / "whole", tmp_path / "parts")


def test_a_damaged_later_checkpoint_does_not_push_out_good_ones(tmp_path):
    fit(tmp_path, 8)
    Run(tmp_path).checkpoints()[-1][1].write_bytes(b"damaged")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(tmp_path, 7)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [6, 7, 8]
