"""Training: the loop around the step, with its data order, metrics, checkpoints and progress."""

from .loop import train

__all__ = ["train"]
