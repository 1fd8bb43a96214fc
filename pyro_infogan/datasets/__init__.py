"""Images to train on, as bytes: in memory, or mapped from a cache.

A set is indexable, ``dataset[i]`` being ``(image, label)``, and knows its images as one tensor,
which is what training gathers batches from.
"""

from .cache import cached, home
from .chairs import chairs
from .dsprites import dsprites
from .faces import faces
from .few import few_labels
from .folder import folder
from .heads import portraits, rendered_faces
from .images import Factor, ImageSet
from .mnist import mnist
from .reading import read_image, refuse, skip
from .rendered import rendered_chairs
from .street_numbers import street_numbers
from .torchvision_sets import celeba, svhn

__all__ = [
    "Factor",
    "ImageSet",
    "cached",
    "celeba",
    "chairs",
    "dsprites",
    "faces",
    "few_labels",
    "folder",
    "home",
    "mnist",
    "portraits",
    "read_image",
    "refuse",
    "rendered_chairs",
    "rendered_faces",
    "skip",
    "street_numbers",
    "svhn",
]
