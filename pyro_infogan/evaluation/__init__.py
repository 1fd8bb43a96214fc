"""What a trained InfoGAN is worth: its bound, its calibration, its categories against labels."""

from .calibration import Calibration, calibrate
from .clustering import Clustering, categories, cluster
from .report import Report, clusterings, evaluate

__all__ = [
    "Calibration",
    "Clustering",
    "Report",
    "calibrate",
    "categories",
    "cluster",
    "clusterings",
    "evaluate",
]
