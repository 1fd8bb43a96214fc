"""What a trained InfoGAN is worth: its bound, its calibration, its codes against what is known."""

from .calibration import Calibration, calibrate
from .clustering import Clustering, categories, cluster
from .factors import Following, Reading, agreement, follow, readings
from .report import Report, clusterings, evaluate
from .sweeps import FactorReader, Sweeps, fit_reader, sweep

__all__ = [
    "Calibration",
    "Clustering",
    "FactorReader",
    "Following",
    "Reading",
    "Report",
    "Sweeps",
    "agreement",
    "calibrate",
    "categories",
    "cluster",
    "clusterings",
    "evaluate",
    "fit_reader",
    "follow",
    "readings",
    "sweep",
]
