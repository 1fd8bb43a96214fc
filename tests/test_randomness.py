"""Seeds that leave every generator as it was."""

from contextlib import suppress

import pytest
import torch

from pyro_infogan.errors import DataError
from pyro_infogan.randomness import derived, seeded


class Machine:
    """Two GPUs as far as generators go, whose states are the seeds that they were given."""

    def __init__(self, started, monkeypatch):
        self.started = started
        self.states = {0: "the first's", 1: "the second's"}
        for name, value in {
            "is_available": self.touched,
            "is_initialized": lambda: self.started,
            "device_count": lambda: 2,
            "_is_in_bad_fork": lambda: False,
            "_lazy_call": self.touched,
            "get_rng_state": lambda device: self.states[device],
            "set_rng_state": lambda state, device: self.states.update({device: state}),
            "manual_seed_all": lambda seed: self.states.update(dict.fromkeys(self.states, seed)),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def touched(self, *_):
        raise AssertionError("the driver is started by this, and a fork after it has no GPU")


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "3"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(DataError, match="seed"), seeded(seed):
        pass
    with pytest.raises(DataError, match="seed"):
        derived(seed, 1)


def test_draws_follow_from_the_seed_and_change_nothing():
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(4), seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_gpu_is_seeded_and_as_before(monkeypatch):
    machine = Machine(True, monkeypatch)
    before = dict(machine.states)
    with suppress(ZeroDivisionError), seeded(3):
        assert set(machine.states.values()) == {3}
        raise ZeroDivisionError
    assert machine.states == before


def test_gpus_that_were_not_used_yet_are_left_alone(monkeypatch):
    machine = Machine(False, monkeypatch)
    before = dict(machine.states)
    with seeded(3):
        assert torch.initial_seed() == 3
        assert machine.states == before
        machine.started = True
        assert machine.states == before
    assert machine.states == before
