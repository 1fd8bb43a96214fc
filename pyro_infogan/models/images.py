"""Any folder of pictures: one Cat(8) and two U(−1, 1), to see what varies in it.

Not the paper's: few codes to begin with, a DCGAN of fitting depth, at a size that a CPU trains in
half an hour, and at twice that.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyro.distributions as dist
import torch

from .. import datasets
from .experiment import Experiment

__all__ = ["images", "images_64"]


def _folder(size: int) -> Callable[..., datasets.ImageSet]:
    def folder(path: Path, train: bool = True) -> datasets.ImageSet:
        return datasets.folder(path, size, train=train, on_broken=datasets.skip)

    return folder


images = Experiment(
    codes={
        "kind": dist.Categorical(torch.ones(8)),
        "first": dist.Uniform(-1.0, 1.0),
        "second": dist.Uniform(-1.0, 1.0),
    },
    image_shape=(3, 32, 32),
    real=_folder(32),
    steps=3_000,
    batch_size=64,
)

images_64 = replace(images, image_shape=(3, 64, 64), real=_folder(64))
