"""Images to train on, held in memory as bytes.

A set is indexable, ``dataset[i]`` being ``(image, label)``, and knows its images as one tensor,
which is what training gathers batches from.
"""

from .images import Factor, ImageSet, read_image
from .mnist import mnist
from .rendered import rendered_chairs
from .street_numbers import street_numbers

__all__ = [
    "Factor",
    "ImageSet",
    "mnist",
    "read_image",
    "rendered_chairs",
    "street_numbers",
]
