"""Images to train on, held in memory as bytes.

A set is indexable, ``dataset[i]`` being ``(image, label)``, and knows its images as one tensor,
which is what training gathers batches from.
"""

from .heads import portraits, rendered_faces
from .images import Factor, ImageSet, read_image
from .mnist import mnist
from .rendered import rendered_chairs
from .street_numbers import street_numbers

__all__ = [
    "Factor",
    "ImageSet",
    "mnist",
    "portraits",
    "read_image",
    "rendered_chairs",
    "rendered_faces",
    "street_numbers",
]
