"""Networks, and one file for each experiment of the paper."""

from collections.abc import Mapping

from .experiment import Experiment, load_file

__all__ = ["Experiment", "built_in", "load_file"]


def built_in() -> Mapping[str, Experiment]:
    """The experiments that come with the library, by the name the command line gives them."""
    # Imported here, since experiments read datasets, which the networks do without.
    from .mnist import mnist, mnist_digit, mnist_paper

    return {"mnist": mnist, "mnist-paper": mnist_paper, "mnist-digit": mnist_digit}
