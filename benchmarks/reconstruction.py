"""Real digits explained by a trained generator: Q alone, and refined for each image.

    python benchmarks/reconstruction.py runs/mnist

Every line is about the same images.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

from pyro_infogan import InfoGAN, datasets, evaluate, inversion


@dataclass(frozen=True)
class Reconstruction:
    """What to explain, and how."""

    run: Positional[Path]
    """run folder of an experiment with a code ``digit``"""
    count: int = 100
    """the first so many test images"""
    scale: float = 0.2
    """standard deviation of a pixel about the generated one"""
    steps: int = 300
    """updates of each fit"""
    seed: int = 0
    """of every draw"""


def main(settings: Reconstruction) -> None:
    """Print the root mean square error of a pixel, and how many digits each names rightly."""
    gan = InfoGAN.load(settings.run)
    torch.manual_seed(settings.seed)
    test = datasets.mnist(train=False)
    images = test.images[: settings.count].float() / 255
    labels = test.labels[: settings.count]
    label_of = torch.tensor(evaluate(gan, test).clustering["digit"].matching)

    def told(what: str, codes: dict[str, Tensor], generated: Tensor) -> None:
        error = (generated - images).square().mean((1, 2, 3)).sqrt()
        right = (label_of[codes["digit"]] == labels).double().mean()
        print(
            f"{what}: error of a pixel {error.mean():.4f} "
            f"(standard error {error.std() / settings.count**0.5:.4f}), digits {right:.3f}"
        )

    posteriors = gan.infer(images)
    codes = {
        name: posterior.mean if name != "digit" else posterior.probs.argmax(-1)
        for name, posterior in posteriors.items()
    }
    told("Q, noise drawn", codes, gan.generate(len(images), codes))
    drawn = inversion.importance(gan, images, settings.scale, draws=1_000)
    print(f"importance sampling: effective sample size, median {drawn.effective.median():.2f}")
    best = drawn.log_weights.argmax(0), torch.arange(len(images))
    codes = {name: values[best] for name, values in drawn.codes.items()}
    told("best of 1,000 draws", codes, gan.generate(len(images), codes, noise=drawn.noise[best]))
    found = inversion.refine(gan, images, settings.scale, settings.steps)
    told("refined", found.codes, found.images)


if __name__ == "__main__":
    main(tyro.cli(Reconstruction))
