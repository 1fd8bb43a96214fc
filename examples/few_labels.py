"""Few labels: 132 of MNIST's 60,000 name the categories, and category 3 is the digit 3.

    python examples/few_labels.py

The command line has it with two codes more and distortions that a digit survives:
pyro-infogan train mnist --labelled 132
"""

import pyro.distributions as dist
import torch

from pyro_infogan import InfoGAN, datasets, train


def main(steps: int = 2_500, labelled: int = 132) -> None:
    digits = datasets.mnist()
    gan = InfoGAN({"digit": dist.Categorical(torch.ones(10))}, image_shape=(1, 28, 28))
    labels = datasets.few_labels(digits.labels, labelled, balanced=True)
    train(gan, digits, steps=steps, labels={"digit": labels})

    held_out = datasets.mnist(train=False)
    found = gan.infer(held_out.images)["digit"].probs.argmax(-1)
    # No matching of categories to digits: the labels have named them.
    accuracy = (found.cpu() == held_out.labels).float().mean().item()
    print(f"{labelled} labels: accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
