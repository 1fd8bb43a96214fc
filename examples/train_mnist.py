"""InfoGAN on MNIST from Python: train, generate, infer, measure, draw.

python examples/train_mnist.py
"""

import sys

import pyro.distributions as dist
import torch

from pyro_infogan import InfoGAN, datasets, evaluate, figures, train


def main(steps: int = 2_500) -> None:
    codes = {
        "digit": dist.Categorical(torch.ones(10) / 10),
        "slant": dist.Uniform(-1.0, 1.0),
        "width": dist.Uniform(-1.0, 1.0),
    }
    gan = InfoGAN(codes, image_shape=(1, 28, 28))
    train(gan, datasets.mnist(), steps=steps)

    threes = gan.generate(16, codes={"digit": 3})
    print("images of category 3:", tuple(threes.shape))
    test = datasets.mnist(train=False)
    print("posterior of the first test image:", gan.infer(test.images[:1])["digit"].probs)
    print(evaluate(gan, test))
    figures.traverse(gan, "slant", span=(-2, 2)).savefig("slant.png")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
