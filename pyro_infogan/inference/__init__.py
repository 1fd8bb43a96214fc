"""Posterior families, the bound, the adversarial game and the step that joins them."""

from . import families
from .bound import Information, scores
from .distortion import Affine, Chain, Strokes
from .posterior import Posterior, parameters
from .step import INFOGAN, PAPER_RATES, PLAIN_GAN, Invariance, Objective, Rates, Step

__all__ = [
    "INFOGAN",
    "PAPER_RATES",
    "PLAIN_GAN",
    "Affine",
    "Chain",
    "Information",
    "Invariance",
    "Objective",
    "Posterior",
    "Rates",
    "Step",
    "Strokes",
    "families",
    "parameters",
    "scores",
]
