"""Your own images: a folder of pictures, in any format and size, and what varies in them.

    pyro-infogan train examples/own_images.py --data photos
    pyro-infogan figures runs/own_images

The folder is read once, with those inside it; a tenth of the pictures is held out.
"""

import pyro.distributions as dist
import torch

from pyro_infogan import Experiment, datasets

SIZE = 64


def pictures(path, train=True):
    # datasets.skip leaves broken files out, and says which; without it they stop the run.
    return datasets.folder(path, SIZE, train=train, on_broken=datasets.skip)


own_images = Experiment(
    codes={
        "kind": dist.Categorical(torch.ones(8)),
        "first": dist.Uniform(-1.0, 1.0),
        "second": dist.Uniform(-1.0, 1.0),
    },
    image_shape=(3, SIZE, SIZE),
    real=pictures,
)
