"""Networks, and one file for each experiment of the paper."""

from collections.abc import Mapping

from .experiment import Experiment, Variation, load_file

__all__ = ["Experiment", "Variation", "built_in", "load_file"]


def built_in() -> Mapping[str, Experiment]:
    """The experiments that come with the library, by the name the command line gives them."""
    # Imported here, since experiments read datasets, which the networks do without.
    from .celeba import celeba
    from .chairs import chairs, chairs_small
    from .faces import faces
    from .images import images, images_64
    from .mnist import mnist, mnist_digit, mnist_paper
    from .svhn import svhn

    return {
        "mnist": mnist,
        "mnist-paper": mnist_paper,
        "mnist-digit": mnist_digit,
        "svhn": svhn,
        "celeba": celeba,
        "faces": faces,
        "chairs": chairs,
        "chairs-small": chairs_small,
        "images": images,
        "images-64": images_64,
    }
