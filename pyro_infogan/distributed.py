"""Several processes, on one machine or many, that train one InfoGAN: started by ``torchrun``.

Every process holds the networks, the optimisers and the images, and takes its own share of each
batch with its own draws. Gradients are averaged before each optimiser's step, so that parameters
are equal everywhere at any time. The first process keeps the run folder and speaks for all.

What training asks of the others it asks of :class:`Alone` or :class:`Together`: of a process by
itself every mean is its own. All decisions follow from numbers that every process has, since one
that went another way would leave the others waiting. One that fails simply ends: the others then
find its connection closed, and end too.
"""

import atexit
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from .devices import usable_device
from .errors import RunError

__all__ = ["Alone", "Together", "join"]

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for one that is connected and silent, such as one that draws a set."""


def join(device: str | torch.device | None = None) -> "Alone":
    """This process with all others that ``torchrun`` started, or by itself where it did not.

    A default process group of ``torch.distributed`` that is there already is used, and left to
    whoever made it; on a GPU it has to have gloo for the CPU beside NCCL.

    Args:
        device: where to compute; by default a GPU if there is one. Of several GPUs each process of
            a machine takes its own.

    Raises:
        RunError: for a device that this process cannot have, or processes that cannot be reached.
    """
    if not dist.is_available():
        return Alone(usable_device(device))
    if dist.is_initialized():
        found = usable_device(device)
        return Together(found, owner=False) if dist.get_world_size() > 1 else Alone(found)
    size = os.environ.get("WORLD_SIZE", "1")
    if not dist.is_torchelastic_launched() and size != "1" and "RANK" in os.environ:
        # Each would train a run of its own.
        raise RunError(
            "several processes",
            got=f"WORLD_SIZE {size} and RANK {os.environ['RANK']} in the environment, and no "
            "torchrun that set them",
            expected="processes that torchrun started, or a process group that is there already",
            fix="Start them with torchrun, call torch.distributed.init_process_group() first, or "
            "unset both for one process.",
        )
    if not dist.is_torchelastic_launched() or size == "1":
        return Alone(usable_device(device))
    own = _own_device(device)
    backend = "cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo"
    with _reaching(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])):
        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        dist.init_process_group(
            backend, timeout=TIMEOUT, world_size=size, rank=rank, store=_fresh(store, rank, size)
        )
    if own.type == "cpu":
        # gloo's threads, still running when the interpreter ends, would abort the process.
        atexit.unregister(_leave)
        atexit.register(_leave)
    return Together(own, owner=True)


def _leave() -> None:
    """End the process group of a process that an error ends."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _fresh(store: Store, rank: int, size: int) -> Store:
    """A part of ``store`` that only this start of these processes writes to.

    ``torchrun`` keeps one store over its restarts, in which a process would find addresses of the
    dead. Its count of restarts is each machine's own. So the first process draws the part's name,
    and answers under names that the others have drawn until each has read the answer.
    """
    name = uuid.uuid4().hex
    if rank:
        store.set(f"pyro_infogan/drawn/{rank}", name)
        first = store.get(f"pyro_infogan/answer/{name}").decode()
        store.set(f"pyro_infogan/{first}/read/{rank}", "")
        return PrefixStore(f"pyro_infogan/{first}", store)
    missing = list(range(1, size))
    until = time.monotonic() + TIMEOUT.total_seconds()
    while missing:
        if time.monotonic() > until:
            raise RuntimeError(f"processes {missing} did not come")
        for other in missing:
            # It may be a dead one's still.
            if store.check([f"pyro_infogan/drawn/{other}"]):
                drawn = store.get(f"pyro_infogan/drawn/{other}").decode()
                store.set(f"pyro_infogan/answer/{drawn}", name)
        time.sleep(0.02)
        missing = [
            other for other in missing if not store.check([f"pyro_infogan/{name}/read/{other}"])
        ]
    return PrefixStore(f"pyro_infogan/{name}", store)


def _own_device(device: str | torch.device | None) -> torch.device:
    """The GPU of this process's number on its machine, or another kind of device."""
    here, all_here = (int(os.environ.get(name, 0)) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if device is None and torch.cuda.is_available():
        device = "cuda"
    if str(device) == "cuda" and here < torch.cuda.device_count():
        # Whatever says "cuda" from here on means this one.
        torch.cuda.set_device(here)
        return torch.device("cuda", here)
    if str(device).startswith("cuda") and torch.cuda.is_available() and all_here > 1:
        raise RunError(
            f"device of process {here} on this machine",
            got=f"{device}, with {torch.cuda.device_count()} GPUs for {all_here} processes",
            expected="a GPU for each process",
            fix="Lower --nproc-per-node, name no GPU by its number, or use --device cpu.",
        )
    return usable_device(device)


@contextmanager
def _reaching(rank: int, size: int) -> Iterator[None]:
    """Inside, what the others do not answer is told as the end of one of them."""
    try:
        yield
    except RuntimeError as error:  # torch's own errors of this kind are all of this type
        reason = (str(error).splitlines() or ["nothing said"])[0].split(". ")[0]
        raise RunError(
            f"process {rank} of {size}",
            got=f"no answer from the others ({reason})",
            expected="all of them to go on",
            fix="One of them has ended or cannot be reached; if it could, it has said why. Once "
            "a checkpoint was saved, go on with --resume (resume=True).",
        ) from error


class Alone:
    """A process by itself, which asks nobody.

    Attributes:
        device: where it computes.
        rank: its number among all processes.
        size: how many there are.
    """

    rank = 0
    size = 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Part from the others."""

    @property
    def first(self) -> bool:
        """Whether it keeps the run folder and speaks."""
        return self.rank == 0

    # Data and draws

    def share(self, everyones: Tensor) -> Tensor:
        """This process's part of what is for all of them, the n-th for the n-th."""
        return everyones

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process of each machine goes before the others, which find what it made."""
        yield

    # Weights

    def broadcast(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers.

        Raises:
            RunError: in a process whose module has others.
        """

    def average(self, weights: Sequence[nn.Parameter]) -> None:
        """Replace the gradients of ``weights`` by their means over processes."""

    def average_buffers(self, module: nn.Module) -> None:
        """Replace a module's buffers of floats, such as batch norm's, by their means."""

    @contextmanager
    def averaged_buffers(self, module: nn.Module) -> Iterator[None]:
        """Inside, the buffers are their means over processes; afterwards each has its own."""
        yield

    # Numbers

    def totals(
        self, sums: Mapping[str, Tensor], counts: Mapping[str, int], more: Iterable[str] = ()
    ) -> tuple[Mapping[str, Tensor], Mapping[str, int]]:
        """Sums by name, and of how many steps each is, over all processes.

        Args:
            sums: those of this process.
            counts: how many steps each sums up.
            more: names that another process may have, the same for all.
        """
        del more
        return sums, counts

    # Agreement

    def agreed(self, signal: int | None) -> int | None:
        """The signal that asks to stop, once it is known to all, whichever process got it."""
        return signal

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes."""
        return make()

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse to train with processes that were started otherwise.

        Raises:
            RunError: in a process whose facts are not the first one's.
        """

    # Checkpoints

    def kept(self, gan: nn.Module, own: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds beside the first process's own state."""
        del gan, own
        return {}

    def taken(self, gan: nn.Module, contents: Mapping[str, Any]) -> Mapping[str, Any]:
        """This process's own state in a checkpoint; ``gan`` gets its own buffers."""
        del gan
        return contents


class Together(Alone):
    """One of several processes of ``torch.distributed``.

    Args:
        device: where it computes.
        owner: whether the process group ends with it.
    """

    def __init__(self, device: torch.device, owner: bool) -> None:
        super().__init__(device)
        self.rank, self.size, self.owner = dist.get_rank(), dist.get_world_size(), owner
        self._asked: tuple[Tensor, dist.Work] | None = None
        self._inside = ExitStack()

    def __enter__(self) -> Self:
        """The others' warnings are those of the first."""
        if not self.first:
            self._inside.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Part from the others, in order; after an error the end of the process does it."""
        self._inside.close()
        if kind is None:
            self._heard()
            if self.owner:
                # One that left early would look dead to those that still wait.
                self._meet()
                dist.destroy_process_group()

    def _reaching(self) -> Any:
        return _reaching(self.rank, self.size)

    def _meet(self) -> None:
        """Wait until all have come here."""
        with self._reaching():
            dist.all_reduce(torch.zeros(1))

    def share(self, everyones: Tensor) -> Tensor:
        """This process's part of what is for all of them, the n-th for the n-th."""
        each = len(everyones) // self.size
        return everyones[self.rank * each :][:each]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process of each machine goes before the others, which find what it made."""
        if int(os.environ.get("LOCAL_RANK", self.rank)) == 0:
            yield
            self._meet()
        else:
            self._meet()
            yield

    def broadcast(self, module: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""
        weights = dict(module.named_parameters())
        named = {**weights, **dict(module.named_buffers())}
        facts = {f"weight {name}": tuple(each.shape) for name, each in named.items()}
        # Of which no gradient is averaged.
        frozen = [name for name, each in weights.items() if not each.requires_grad]
        self.check_same(
            facts | {f"frozen weight {name}": facts[f"weight {name}"] for name in frozen}
        )
        with torch.no_grad(), self._reaching():
            for value in named.values():
                # What is sent has to be in order in memory, which channels-last weights are not.
                sent = value.detach().contiguous()
                dist.broadcast(sent, 0)
                value.copy_(sent)

    def average(self, weights: Sequence[nn.Parameter]) -> None:
        """Replace the gradients of ``weights`` by their means over processes, in one message.

        A step may leave weights unused, such as Q's heads without labels, and not in all processes
        alike. A weight without a gradient in any of them has none afterwards; in one that lacks it,
        it counts as zero.
        """
        missing = [place for place, weight in enumerate(weights) if weight.grad is None]
        there = weights[0].new_ones(len(weights))
        for place in missing:
            weights[place].grad = torch.zeros_like(weights[place])
            there[place] = 0
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([*(each.reshape(-1) for each in gradients), there])
        with self._reaching():
            dist.all_reduce(flat)
        *sums, there = flat.split([*(each.numel() for each in gradients), len(gradients)])
        for total, each in zip(sums, gradients, strict=True):
            torch.div(total.view_as(each), self.size, out=each)
        # Looking waits for a GPU, and is needed only where something is missing here.
        for place in missing:
            if not there[place]:
                weights[place].grad = None

    def average_buffers(self, module: nn.Module) -> None:
        """Replace a module's buffers of floats, such as batch norm's, by their means.

        The means are taken in double precision, in which equal numbers are exactly their mean.
        """
        buffers = _floats(module)
        if buffers:
            flat = torch.cat([each.reshape(-1).double() for each in buffers])
            with self._reaching():
                dist.all_reduce(flat)
            means = flat.div_(self.size).split([each.numel() for each in buffers])
            for mean, each in zip(means, buffers, strict=True):
                each.copy_(mean.view_as(each))

    @contextmanager
    def averaged_buffers(self, module: nn.Module) -> Iterator[None]:
        """Inside, the buffers are their means over processes; afterwards each has its own."""
        own = [each.clone() for each in _floats(module)]
        self.average_buffers(module)
        try:
            yield
        finally:
            _fill(module, own)

    def totals(
        self, sums: Mapping[str, Tensor], counts: Mapping[str, int], more: Iterable[str] = ()
    ) -> tuple[Mapping[str, Tensor], Mapping[str, int]]:
        """Sums by name, and of how many steps each is, over all processes."""
        names = sorted({*sums, *more})
        values = [torch.as_tensor(sums.get(name, 0.0)).to(self.device).double() for name in names]
        numbers = [float(counts.get(name, 0)) for name in names]
        both = torch.stack([torch.stack(values), values[0].new_tensor(numbers)])
        with self._reaching():
            dist.all_reduce(both)
        found = {name: int(count) for name, count in zip(names, both[1].tolist(), strict=True)}
        told = [*sums, *(name for name in names if name not in sums and found[name])]
        return (
            {name: both[0, names.index(name)] for name in told},
            {name: found[name] for name in told},
        )

    def agreed(self, signal: int | None) -> int | None:
        """The signal that asks to stop, once it is known to all, whichever process got it.

        Each process says what it has been told, and hears what all had been at the step before:
        what is on its way meanwhile costs no waiting, and no look at a GPU.
        """
        before = self._heard()
        flag = torch.tensor(signal or 0)
        with self._reaching():
            work = dist.all_reduce(flag, dist.ReduceOp.MAX, async_op=True)
        assert work is not None  # as it is asynchronous
        self._asked = flag, work
        return before

    def _heard(self) -> int | None:
        if self._asked is None:
            return None
        (flag, work), self._asked = self._asked, None
        with self._reaching():
            work.wait()
        return int(flag) or None

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What the first process makes."""
        made: list[Any] = [make() if self.first else None]
        with self._reaching():
            dist.broadcast_object_list(made, 0)
        return made[0]

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Refuse to train with processes that were started otherwise.

        Raises:
            RunError: in a process whose facts are not the first one's.
        """
        theirs = self.from_first(lambda: dict(facts))
        for name in {**theirs, **facts}:
            here, there = (
                f"{name} {each[name]}" if name in each else f"no {name}" for each in (facts, theirs)
            )
            if here != there:
                raise RunError(
                    f"process {self.rank} of {self.size}",
                    got=here,
                    expected=f"{there}, as process 0 has",
                    fix="Start all with the same command, on the same images.",
                )
        # None goes on and writes before all have been found good.
        self._meet()

    def kept(self, gan: nn.Module, own: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds beside the first process's own state: everyone's, by rank."""
        mine = {**own, "buffers": [each.cpu() for each in _floats(gan)]}
        everyones: list[Any] | None = [None] * self.size if self.first else None
        with self._reaching():
            dist.gather_object(mine, everyones)
        return {"processes": everyones}

    def taken(self, gan: nn.Module, contents: Mapping[str, Any]) -> Mapping[str, Any]:
        """This process's own state in a checkpoint; ``gan`` gets its own buffers."""
        own = contents["processes"][self.rank]
        _fill(gan, own["buffers"])
        return own


def _floats(module: nn.Module) -> list[Tensor]:
    return [each for each in module.buffers() if each.is_floating_point()]


def _fill(module: nn.Module, values: Sequence[Tensor]) -> None:
    for each, value in zip(_floats(module), values, strict=True):
        each.copy_(value)
