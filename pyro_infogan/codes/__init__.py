"""Code priors: what the generator's structured input may be, declared as Pyro distributions.

A declaration is a mapping from names to distributions, or a Pyro program with one ``sample``
statement a code. :class:`CodePrior` answers the four questions that the rest of the library asks of
a prior: draw codes, score them, encode them for the generator, and tell their entropy.
"""

from .element import (
    base_support,
    bounds,
    element_of,
    ends_of,
    flattened,
    form_of,
    half_line,
    has_ends,
    is_angle,
    is_direction,
    is_share,
    least_and_greatest,
    lies_on,
    log_prob,
    placed,
    reach,
    sample,
    support,
    traced,
)
from .encoding import Encoding, encode, has_heavy_tails, keep_unit, log_units, unit
from .joint import Joint, Marginal
from .prior import CodePrior, Declaration, Key, label, names_of
from .programs import NOISE, PIXELS, PLATE, Entropy, is_masked

__all__ = [
    "NOISE",
    "PIXELS",
    "PLATE",
    "CodePrior",
    "Declaration",
    "Encoding",
    "Entropy",
    "Joint",
    "Key",
    "Marginal",
    "base_support",
    "bounds",
    "element_of",
    "encode",
    "ends_of",
    "flattened",
    "form_of",
    "half_line",
    "has_ends",
    "has_heavy_tails",
    "is_angle",
    "is_direction",
    "is_masked",
    "is_share",
    "keep_unit",
    "label",
    "least_and_greatest",
    "lies_on",
    "log_prob",
    "log_units",
    "names_of",
    "placed",
    "reach",
    "sample",
    "support",
    "traced",
    "unit",
]
