"""A training process to be killed: it imports once, and trains in a fork for each line it reads.

Each line of standard input is a folder and a number of steps. It answers with the process id of the
fork, and when that is gone with what became of it.
"""

import os
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_infogan import InfoGAN, Objective, train
from pyro_infogan.inference import Step
from pyro_infogan.inference.guidance import Guidance, Mixed
from pyro_infogan.models.networks import FromImage, Pair, ToImage


class Codes(nn.Module):
    """A prior that learns, so that all three optimisers have a state."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(3))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self):
        digit = pyro.sample("digit", dist.Categorical(logits=self.logits))
        pyro.sample("slant", dist.Normal(self.shift * digit, 1.0))


def tiny(image_shape, inputs):
    """Networks of one layer and batch norm."""
    channels, height, width = image_shape
    pixels = channels * height * width
    to_image = (nn.Linear(inputs, pixels), nn.BatchNorm1d(pixels), ToImage(height, width))
    generator = nn.Sequential(*to_image, nn.Sigmoid())
    trunk = nn.Sequential(FromImage(), nn.Linear(pixels, 8), nn.LeakyReLU(0.1))
    return Pair(generator, trunk, 8, hidden=0)


def images():
    """Forty images, the same each time."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)


def fit(folder, steps, schedule=None, **settings):
    """Train as far as ``steps``; with a schedule, with labels for some images."""
    torch.manual_seed(5)
    gan = InfoGAN(Codes(), (1, 8, 8), noise=2, networks=tiny)
    labels = torch.where(torch.arange(40) % 4 == 0, torch.arange(40) % 3, -1)
    told = {"labels": {"digit": labels}} if schedule else {}
    objective = Objective(guidance=Guidance(schedule=schedule or Mixed()))
    chosen = {"save_every": 2, "resume": True, "progress": False} | settings
    train(
        gan,
        images(),
        steps,
        batch_size=8,
        out=folder,
        device="cpu",
        **told,
        objective=objective,
        **chosen,
    )
    return gan


def at_step(number, act):
    """Steps of training that do something at one of them."""
    real, calls = Step.__call__, []

    def step(self, *arguments):
        calls.append(1)
        told = real(self, *arguments)
        if len(calls) == number:
            act()
        return told

    return step


def main():
    """Fork for each line."""
    torch.set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        folder, steps = line.split()
        child = os.fork()
        if not child:
            code = 1
            try:
                fit(Path(folder), int(steps))
                code = 0
            except KeyboardInterrupt as stop:
                print(stop, file=sys.stderr, flush=True)
                code = 128 + stop.signal
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
