"""Posterior families, the bound, the adversarial game and the step that joins them."""

from . import families
from .bound import Information, scores
from .distortion import Affine, Chain, Inks, Strokes, Tints
from .guidance import Alternating, Guidance, Labels, Mixed, Schedule, checked_labels
from .joint import Guide
from .posterior import Chosen, Posterior, in_words, log_probs, parameters, sample_codes
from .step import INFOGAN, PAPER_RATES, PLAIN_GAN, Invariance, Objective, PriorTerms, Rates, Step

__all__ = [
    "INFOGAN",
    "PAPER_RATES",
    "PLAIN_GAN",
    "Affine",
    "Alternating",
    "Chain",
    "Chosen",
    "Guidance",
    "Guide",
    "Information",
    "Inks",
    "Invariance",
    "Labels",
    "Mixed",
    "Objective",
    "Posterior",
    "PriorTerms",
    "Rates",
    "Schedule",
    "Step",
    "Strokes",
    "Tints",
    "checked_labels",
    "families",
    "in_words",
    "log_probs",
    "parameters",
    "sample_codes",
    "scores",
]
