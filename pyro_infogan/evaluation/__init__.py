"""What a trained InfoGAN is worth: its bound, its calibration, its codes against what is known."""

from .attribution import Responses, responses
from .calibration import Calibration, calibrate
from .clustering import Clustering, categories, cluster
from .factors import Following, agreement, best_reading, follow, followed, likeness
from .features import (
    FeatureClusters,
    cluster_features,
    grid_features,
    top_features,
    untrained_trunk,
)
from .inferred import Categories, Inferred, Numbers, inferred
from .probes import Probe, Probes, probe
from .report import Report, against_truth, clustered, clusterings, evaluate
from .sweeps import FactorReader, Sweeps, fit_reader, sweep

__all__ = [
    "Calibration",
    "Categories",
    "Clustering",
    "FactorReader",
    "FeatureClusters",
    "Following",
    "Inferred",
    "Numbers",
    "Probe",
    "Probes",
    "Report",
    "Responses",
    "Sweeps",
    "against_truth",
    "agreement",
    "best_reading",
    "calibrate",
    "categories",
    "cluster",
    "cluster_features",
    "clustered",
    "clusterings",
    "evaluate",
    "fit_reader",
    "follow",
    "followed",
    "grid_features",
    "inferred",
    "likeness",
    "probe",
    "responses",
    "sweep",
    "top_features",
    "untrained_trunk",
]
