"""What a trained InfoGAN is worth: its bound, its calibration, its codes against what is known."""

from .attribution import Responses, responses
from .calibration import Calibration, calibrate
from .clustering import Clustering, categories, cluster
from .factors import Following, Reading, agreement, follow, readings
from .features import (
    FeatureClusters,
    cluster_features,
    grid_features,
    top_features,
    untrained_trunk,
)
from .probes import Probe, Probes, probe
from .report import Report, clusterings, evaluate
from .sweeps import FactorReader, Sweeps, fit_reader, sweep

__all__ = [
    "Calibration",
    "Clustering",
    "FactorReader",
    "FeatureClusters",
    "Following",
    "Probe",
    "Probes",
    "Reading",
    "Report",
    "Responses",
    "Sweeps",
    "agreement",
    "calibrate",
    "categories",
    "cluster",
    "cluster_features",
    "clusterings",
    "evaluate",
    "fit_reader",
    "follow",
    "grid_features",
    "probe",
    "readings",
    "responses",
    "sweep",
    "top_features",
    "untrained_trunk",
]
