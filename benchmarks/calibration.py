"""Calibration of one continuous code in runs whose posterior families differ.

    python benchmarks/calibration.py slant runs/mnist runs/beta --out calibration-slant.png

RESULTS.md has what they gave.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from pyro_infogan import InfoGAN, figures
from pyro_infogan.evaluation import calibrate


@dataclass(frozen=True)
class Calibrations:
    """Which code of which runs."""

    code: Positional[str]
    """a continuous code that all of them have"""
    runs: Positional[tuple[Path, ...]]
    """run folders or saved files"""
    draws: int = 10_000
    """generated images"""
    out: Path = Path("calibration.png")
    """where the figure goes, one column a run"""


def main(settings: Calibrations) -> None:
    """Print a row of a table for each run, and draw them side by side."""
    found = {}
    for path in settings.runs:
        gan = InfoGAN.load(path)
        family = type(
            dict(zip(gan.posterior.keys, gan.posterior.heads, strict=True))[settings.code]
        )
        code = calibrate(gan, settings.draws)[settings.code]
        info = gan.information(settings.draws)[settings.code]
        found[family.__name__] = code
        outside = f"{code.outside:.1%} | {code.leak:.3f}" if code.outside is not None else "– | –"
        print(
            f"| {family.__name__} | {info.bound:.3f} ± {info.error:.3f} | {code.gap:.4f} | "
            f"{code.chance:.4f} | {code.p_value:.2g} | {outside} |"
        )
    figures.write(figures.calibration(found), settings.out)


if __name__ == "__main__":
    main(tyro.cli(Calibrations))
