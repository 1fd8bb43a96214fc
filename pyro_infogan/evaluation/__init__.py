"""What a trained InfoGAN is worth: its bound, and its categories against labels."""

from .clustering import Clustering, categories, cluster
from .report import Report, clusterings, evaluate

__all__ = ["Clustering", "Report", "categories", "cluster", "clusterings", "evaluate"]
