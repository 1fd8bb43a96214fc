"""Several processes that train one InfoGAN: equal weights, one run folder, and a common end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyro_infogan.distributed import Alone, join
from pyro_infogan.errors import DataError, DivergenceError, RunError, Stopped
from pyro_infogan.inference.guidance import Alternating, Mixed
from pyro_infogan.randomness import derived
from pyro_infogan.runs import Run, read
from tests import ranks
from tests.killed import fit, images
from tests.test_robustness import check_same_end, lines, same

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs gloo",
)


def values(scenario, *arguments):
    """What both processes return, which raise nothing."""
    outcomes = ranks.run(scenario, *arguments)
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error
        assert outcome.code == 0
    return [outcome.value for outcome in outcomes]


# Gradients


def test_two_processes_of_64_have_the_gradient_of_one_of_128():
    both = values(ranks.gradients, 2, 64)
    whole = ranks.gradients(0, 1, 128)
    assert same(*both)
    assert any(gradient.abs().max() > 1e-3 for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(both[0][name], gradient, atol=1e-7, rtol=1e-4)


def test_a_gradient_that_is_missing_counts_as_zero_and_one_that_nobody_has_stays_so():
    both = values(ranks.unused)
    assert same(*both)
    assert both[0] == [
        pytest.approx(torch.full((2,), 1.5)),
        pytest.approx(torch.full((2,), 1.5)),
        None,
    ]


# Training


def test_weights_and_metrics_are_equal_and_data_and_draws_are_not():
    (state, told, seen, noise), (other_state, other_told, other_seen, other_noise) = values(
        ranks.apart, 12
    )
    assert same(state, other_state)
    assert [line["step"] for line in told] == [10, 12]
    for line, other in zip(told, other_told, strict=True):
        assert {**line, "images_per_s": 0} == {**other, "images_per_s": 0}
    assert not torch.equal(noise, other_noise)
    # Two steps of 2 × 8 of the forty images are an epoch: no image comes twice.
    epoch = torch.cat([seen[:16], other_seen[:16]]).flatten(1)
    assert len(epoch.unique(dim=0)) == 32
    known = {tuple(image.tolist()) for image in images().flatten(1)}
    assert {tuple(image.tolist()) for image in epoch} <= known


@pytest.mark.parametrize("schedule", [Mixed(0.25), Alternating(0.3)], ids=["mixed", "alternating"])
def test_stopped_at_any_step_and_resumed(schedule, tmp_path):
    whole, other = values(ranks.fitted, tmp_path / "whole", 23, schedule)
    parts = values(ranks.fitted, tmp_path / "parts", 23, schedule, (1, 10, 14))
    assert same(whole, other)
    assert all(same(whole, each) for each in parts)
    check_same_end(tmp_path / "whole", tmp_path / "parts")
    saved = read(Run(tmp_path / "whole").checkpoints()[-1][1])
    assert same(dict(saved["weights"]), dict(whole))
    first, second = saved["processes"]
    assert not same(first["buffers"], second["buffers"])
    assert not same(first["random"], second["random"])


def test_processes_of_another_launcher_are_not_taken_for_one(monkeypatch):
    """Each would train a whole run."""
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="no torchrun"):
        join()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join().size == 1


def test_a_process_by_itself_is_as_it_was(monkeypatch):
    assert type(join("cpu")) is Alone
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert type(join("cpu")) is Alone
    for seed in (0, 7, 2**40, 2**63 - 1):
        assert derived(seed, 0, Alone.rank) == derived(seed, 0) != derived(seed, 0, 1)


# Ends


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of thirteen steps that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    values(ranks.fitted, folder, 13)
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_one_stops_all_at_the_same_step(number, whole, tmp_path):
    outcomes = ranks.run(ranks.signalled, tmp_path / "parts", number)
    for outcome in outcomes:
        assert isinstance(outcome.error, Stopped)
        assert re.search(r"after step 8, saved as .*8\.pt; go on", str(outcome.error))
    assert [step for step, _ in Run(tmp_path / "parts").checkpoints()] == [8]
    values(ranks.fitted, tmp_path / "parts", 13)
    check_same_end(whole, tmp_path / "parts")


def test_a_run_goes_on_with_as_many_processes_as_it_began_with(whole):
    with pytest.raises(RunError, match="'processes': 2"):
        fit(whole, 14)


def test_a_killed_process_ends_the_others_with_an_error(whole, tmp_path):
    survivor, dead = ranks.run(ranks.signalled, tmp_path / "parts", signal.SIGKILL)
    assert dead.code == -signal.SIGKILL
    assert isinstance(survivor.error, RunError)
    assert re.match(r"process 0 of 2: got no answer.*go on with --resume", str(survivor.error))
    assert [step for step, _ in Run(tmp_path / "parts").checkpoints()] == [3, 6]
    values(ranks.fitted, tmp_path / "parts", 13)
    check_same_end(whole, tmp_path / "parts")


def test_a_loss_of_one_that_is_not_finite_ends_all_at_the_same_step(tmp_path):
    for outcome in ranks.run(ranks.diverging, tmp_path):
        assert isinstance(outcome.error, DivergenceError)
        assert re.search(r"at step 6: got loss_d .*step-00000004\.pt", str(outcome.error))
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [4]


def test_an_error_of_one_ends_the_other(tmp_path):
    first, second = ranks.run(ranks.too_few)
    assert isinstance(second.error, DataError)
    assert "one batch of 8 for each of 2 processes" in str(second.error)
    assert "no answer" in str(first.error)
    first, second = ranks.run(ranks.full, tmp_path)
    assert "no room" in str(first.error)
    assert "process 1 of 2: got no answer" in str(second.error)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [2]


def test_a_callback_of_the_first_that_fails_ends_all_after_saving(whole, tmp_path):
    first, second = ranks.run(ranks.interrupted, tmp_path)
    assert isinstance(first.error, ValueError)
    assert "an error in a callback of process 0" in str(second.error)
    assert [step for step, _ in Run(tmp_path).checkpoints()] == [10]
    values(ranks.fitted, tmp_path, 13)
    check_same_end(whole, tmp_path)


def test_callbacks_see_what_a_checkpoint_holds(whole, tmp_path):
    seen, _ = values(ranks.noticed, tmp_path)
    saved = read(dict(Run(tmp_path).checkpoints())[10])
    assert same(dict(seen), dict(saved["weights"]))
    # Nothing of it stays in the run.
    check_same_end(whole, tmp_path)


@pytest.mark.parametrize(
    ("start", "got"),
    [(ranks.otherwise, "(no )?weight"), (ranks.frozen, r"frozen weight discriminator\.\w+")],
)
def test_networks_of_other_sizes_or_with_other_weights_to_learn_are_refused(start, got):
    first, second = ranks.run(start)
    assert "no answer" in str(first.error)
    assert isinstance(second.error, RunError)
    assert re.match(rf"process 1 of 2: got {got} .*, as process 0 has", str(second.error))


def test_processes_that_were_started_otherwise_are_refused(tmp_path):
    first, second = ranks.run(ranks.unlike, tmp_path / "run")
    assert "no answer" in str(first.error)
    assert isinstance(second.error, RunError)
    assert re.match(r"process 1 of 2: got settings .*as process 0 has", str(second.error))
    assert not (tmp_path / "run").exists()


FAILING = """
import atexit
import os
import sys
import torch.distributed as dist
from pyro_infogan.distributed import join

atexit.register(lambda: os._exit(5) if dist.is_initialized() else None)
group = join("cpu")
group.from_first(lambda: None)
sys.exit(3 + group.rank)
"""


def test_an_error_ends_a_process_with_its_own_exit_status():
    """Threads of gloo that still ran when the interpreter ends would abort it, now and then."""
    port = ranks.free_port()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", FAILING], env=os.environ | ranks.environment(rank, port)
        )
        for rank in range(ranks.SIZE)
    ]
    assert [process.wait(ranks.LIMIT) for process in started] == [3, 4]


# The launcher

EXPERIMENT = """
import os
import signal

from pyro_infogan import Experiment, datasets
from tests.killed import Codes, images, tiny
import torch


def networks(image_shape, inputs):
    pair = tiny(image_shape, inputs)
    calls = []

    def dying(*_):
        # Two passes of real and generated images and one of the generator's make a step.
        calls.append(1)
        if len(calls) == 1 + 3 * 7 and os.environ.get("KILL") == os.environ["RANK"]:
            if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                os.kill(os.getpid(), signal.SIGKILL)

    pair.trunk.register_forward_hook(dying)
    return pair


small = Experiment(
    codes=Codes(),
    image_shape=(1, 8, 8),
    data=lambda train=True: datasets.ImageSet(images(), torch.arange(40) % 3),
    noise=2,
    networks=networks,
    steps=13,
    batch_size=8,
)
"""


def test_torchrun_starts_again_from_the_checkpoint(tmp_path):
    file = tmp_path / "my_codes.py"
    file.write_text(EXPERIMENT)
    train = ["train", str(file), "--resume", "--save-every", "3", "--device", "cpu", "--out"]
    root = str(Path(__file__).parent.parent)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--max-restarts", "1", "--local-addr", "127.0.0.1"]
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    launched = subprocess.run(
        [*launcher, *meeting, "-m", "pyro_infogan", *train, str(tmp_path / "parts")],
        env={
            **os.environ,
            "PYTHONPATH": root,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "KILL": "1",
        },
        capture_output=True,
        text=True,
        timeout=2 * ranks.LIMIT,
    )
    assert launched.returncode == 0, launched.stderr
    assert "error: process 0 of 2: got no answer" in launched.stderr
    # Said by one process, each time.
    assert launched.stdout.count("training on") == 2
    values(ranks.command, *train, str(tmp_path / "whole"))
    check_same_end(tmp_path / "whole", tmp_path / "parts")
    assert [line["step"] for line in lines(tmp_path / "parts")] == [10, 13]
