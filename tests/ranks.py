"""Two processes that train together, for tests: forks of one that has imported everything."""

import multiprocessing
import os
import pickle
import signal
import socket
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import nn

from pyro_infogan import InfoGAN, Rates, train
from pyro_infogan.cli import main
from pyro_infogan.distributed import join
from pyro_infogan.inference import Step
from pyro_infogan.models.networks import FromImage, Pair, ToImage
from pyro_infogan.training import loop
from tests.killed import Codes, at_step, fit, images, tiny

SIZE = 2
CODES = {"digit": dist.Categorical(torch.ones(3)), "slant": dist.Uniform(-1.0, 1.0)}
# Of a test, far beyond what it takes: a process that never ends is what is looked for.
LIMIT = 240


@dataclass
class Outcome:
    """What became of a process: what it returned or raised, and its exit code."""

    value: Any
    error: BaseException | None
    code: int | None


def run(scenario, *arguments):
    """Outcomes of ``scenario(rank, *arguments)`` in each of two processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ranks"])
    port = free_port()
    ends, processes = [], []
    for rank in range(SIZE):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_call, args=(there, port, rank, scenario, arguments))
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)
    outcomes = []
    for end, process in zip(ends, processes, strict=True):
        told = (None, None)
        with suppress(EOFError):
            assert end.poll(LIMIT), "a process that does not end"
            told = pickle.loads(end.recv_bytes())
        process.join(LIMIT)
        outcomes.append(Outcome(*told, process.exitcode))
    return outcomes


def free_port():
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environment(rank, port):
    """What ``torchrun`` would tell a process."""
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(SIZE),
        "LOCAL_WORLD_SIZE": str(SIZE),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _call(end, port, rank, scenario, arguments):
    os.environ |= environment(rank, port)
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    try:
        told = (scenario(rank, *arguments), None)
    except BaseException as error:  # whatever it is, the test wants to see it
        told = (None, error)
    end.send_bytes(pickle.dumps(told))


# Networks without batch norm, and what both processes draw together


def plain(image_shape, inputs):
    """Networks of one layer, whose loss is a mean over images."""
    channels, height, width = image_shape
    pixels = channels * height * width
    generator = nn.Sequential(nn.Linear(inputs, pixels), ToImage(height, width), nn.Sigmoid())
    trunk = nn.Sequential(FromImage(), nn.Linear(pixels, 8), nn.LeakyReLU(0.1))
    return Pair(generator, trunk, 8, hidden=0)


def gradients(rank, size, n):
    """Gradients of both players after a step of ``n`` images in each of ``size`` processes."""
    torch.manual_seed(6)
    gan = InfoGAN(CODES, (1, 8, 8), noise=4, networks=plain)
    mine = slice(rank * n, (rank + 1) * n)
    real = torch.rand(size * n, 1, 8, 8)[mine]
    draw = gan.draw

    def drawn(_):
        noise, values = draw(size * n)
        return noise[mine], {name: value[mine] for name, value in values.items()}

    gan.draw = drawn
    with join("cpu") as group:
        step = Step(gan, rates=Rates(0.0, 0.0), average=group.average)
        step(real)
    return {name: weight.grad for name, weight in gan.named_parameters()}


def unused(rank):
    """Gradients of a weight that both use, one that the first uses, and one that nobody does."""
    weights = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    weights[0].grad = torch.full((2,), 1.0 + rank)
    if rank == 0:
        weights[1].grad = torch.full((2,), 3.0)
    with join("cpu") as group:
        group.average(weights)
    return [weight.grad for weight in weights]


# Training


def apart(rank, steps):
    """Train from weights of its own; the weights then, the metrics, and what it saw and drew."""
    torch.manual_seed(rank)
    gan = InfoGAN(Codes(), (1, 8, 8), noise=2, networks=tiny)
    seen, noises = [], []
    scaled, draw = loop.scaled, gan.draw

    def seeing(batch):
        seen.extend(batch)
        return scaled(batch)

    def drawing(n):
        noise, codes = draw(n)
        noises.append(noise)
        return noise, codes

    loop.scaled = seeing
    gan.draw = drawing
    lines = train(gan, images(), steps, batch_size=8, device="cpu", progress=False)
    return gan.state_dict(), lines, torch.stack(seen), torch.stack(noises)


def fitted(rank, folder, steps, schedule=None, stops=()):
    """Train with the steps' numbers in ``stops`` as ends on the way; the weights at the end."""
    for end in (*stops, steps):
        gan = fit(folder, end, schedule)
    return gan.state_dict()


def renewed(rank, folder):
    """Batch norm's statistics that this process has taken anew, and those at the end."""
    own = {}
    renew = loop.renew_statistics

    def renewing(gan, *given):
        renew(gan, *given)
        own.update({name: value.clone() for name, value in gan.named_buffers()})

    loop.renew_statistics = renewing
    gan = fit(folder, 4)
    return own, gan.state_dict()


def signalled(rank, folder, number):
    """The second process alone gets a signal in its seventh step."""
    # A shell starts what it puts in the background with Ctrl-C ignored, and so it would stay.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if rank == 1:
        Step.__call__ = at_step(7, lambda: os.kill(os.getpid(), number))
    fit(folder, 33, save_every=100 if number != signal.SIGKILL else 3)


def diverging(rank, folder):
    """The second process alone has images that are not numbers in its sixth step."""
    scaled, calls = loop.scaled, []

    def poisoned(batch):
        calls.append(1)
        return scaled(batch) * (float("nan") if len(calls) == 6 and rank == 1 else 1.0)

    loop.scaled = poisoned
    gan = InfoGAN(CODES, (1, 8, 8), noise=2, networks=tiny)
    train(gan, images(), 20, 8, out=folder, device="cpu", save_every=4, progress=False)


def unlike(rank, folder):
    """The second process has other images."""
    gan = InfoGAN(Codes(), (1, 8, 8), noise=2, networks=tiny)
    mine = images() if rank == 0 else 255 - images()
    train(gan, mine, 4, batch_size=8, out=folder, device="cpu", progress=False)


def too_few(rank):
    """The second process has too few images."""
    gan = InfoGAN(Codes(), (1, 8, 8), noise=2, networks=tiny)
    mine = images() if rank == 0 else images()[:15]
    train(gan, mine, 4, batch_size=8, device="cpu", progress=False)


def full(rank, folder):
    """The first process cannot write its second checkpoint."""
    from pyro_infogan.errors import RunError
    from pyro_infogan.runs import Run

    save = Run.save

    def saving(self, step, contents):
        if step == 4:
            raise RunError("disk", got="no room", expected="room", fix="Free some.")
        return save(self, step, contents)

    Run.save = saving
    fit(folder, 20)


def interrupted(rank, folder):
    """A callback of the first process fails; the second has none."""

    class Failing:
        def on_log(self, step, metrics, gan):
            raise ValueError(f"at {step}")

    fit(folder, 33, save_every=100, callbacks=[Failing()] if rank == 0 else [])


def noticed(rank, folder):
    """The weights and buffers that a callback of the first process sees after ten steps."""
    seen = []

    class Seeing:
        def on_log(self, step, metrics, gan):
            seen.append({name: value.clone() for name, value in gan.state_dict().items()})

    fit(folder, 13, save_every=10, callbacks=[Seeing()] if rank == 0 else [])
    return seen[0] if rank == 0 else None


def otherwise(rank):
    """The second process has one code more."""
    codes = CODES if rank == 0 else {**CODES, "width": dist.Uniform(-1.0, 1.0)}
    gan = InfoGAN(codes, (1, 8, 8), noise=2, networks=tiny)
    train(gan, images(), 4, batch_size=8, device="cpu", progress=False)


def frozen(rank):
    """The second process has a layer that is not to learn."""
    gan = InfoGAN(CODES, (1, 8, 8), noise=2, networks=tiny)
    gan.discriminator.requires_grad_(rank == 0)
    train(gan, images(), 4, batch_size=8, device="cpu", progress=False)


def command(rank, *words):
    """The command line."""
    main(list(words))
