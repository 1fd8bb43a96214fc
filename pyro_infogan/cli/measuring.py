"""Commands that measure a run and draw what it measured."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from ..errors import DataError
from .command import Computing, images_of, load

if TYPE_CHECKING:
    from ..datasets import ImageSet
    from ..infogan import InfoGAN

__all__ = ["Discover", "Evaluate", "Figures", "Report"]

_SHOWN = 5
"""Images that a unit answers to most, in the figure."""


def _called(baseline: Path) -> str:
    """What a run is beside another: a plain GAN, or another run by its name."""
    from ..runs import Run

    settings = (Run(baseline).record() or {}).get("settings", {})
    objective = settings.get("objective")
    plain = isinstance(objective, dict) and objective.get("info_updates_generator") is False
    return "plain GAN" if plain else baseline.absolute().name


@dataclass(kw_only=True)
class Evaluate(Computing):
    """Measure L_I, Q's calibration, and categories against the test labels, into report.json."""

    run: Positional[Path]
    """run folder"""
    draws: int = 10_000
    """generated images for L_I and the calibration"""
    sweeps: bool = False
    """also train a small network to read the factors, and say what sweeping each code moves"""
    clusters: int | None = None
    """also cluster the trunk's features into so many, and say whether they are the classes"""
    probe: int | Literal["all"] | None = None
    """also fit linear classifiers to the trunk's features, with so many labels of each class, or
    all"""
    seed: int = 0
    """of those draws"""
    data: Path | None = None
    """files that the experiment reads its images from, where they are no longer where they were"""
    out: Path | None = None
    """folder for report.json and the figures; the run's by default"""

    def __call__(self) -> None:
        """Write report.json and a confusion figure for each categorical code."""
        import dataclasses
        import json

        from .. import figures
        from ..datasets import ImageSet
        from ..errors import checked_count
        from ..evaluation import cluster_features, evaluate, fit_reader, probe
        from ..randomness import checked_seed
        from ..runs import write_text

        checked_seed(self.seed, "--seed")
        checked_count("--draws", self.draws, least=2)
        if self.clusters is not None:
            checked_count("--clusters", self.clusters, least=1)
        if isinstance(self.probe, int):
            checked_count("--probe", self.probe, least=1)
        run, gan = load(self)
        held_out = images_of(run, train=False, path=self.data)
        asked = self.sweeps or self.clusters is not None or self.probe is not None
        train: Any = images_of(run, train=True, path=self.data) if asked else None
        reader = None
        if self.sweeps:
            if not isinstance(held_out, ImageSet) or not held_out.factors:
                raise DataError(
                    "--sweeps",
                    got="a run whose images have no known factors",
                    expected="one of faces, chairs, svhn or celeba, or of your own with factors",
                    fix="Leave it out.",
                )
            print("training the reader of factors", flush=True)
            reader = fit_reader(train, held_out, device=gan.device)
        clusters = probes = None
        if self.clusters is not None:
            print("clustering the trunk's features", flush=True)
            clusters = cluster_features(gan, train, held_out, self.clusters, self.seed)
        if self.probe is not None:
            print("fitting linear classifiers to the trunk's features", flush=True)
            # Draws of all labels hardly differ, and each takes long.
            how = {"draws": 1} if self.probe == "all" else {"labels": self.probe}
            probes = probe(gan, train, held_out, seed=self.seed, **how)
        report = evaluate(gan, held_out, self.draws, self.seed, reader)
        report = dataclasses.replace(report, clusters=clusters, probes=probes)
        # Before anything that may fail: it took minutes.
        print(report, flush=True)
        if not report.clustering and not report.following:
            print("no accuracy: no labels or factors of the images are known, or no code has any")
        out = self.out or run.folder
        for name, found in report.clustering.items():
            figures.write(figures.confusion(found, name), out / f"confusion-{name}.png")
        write_text(out / "report.json", json.dumps(report.data(), indent=2) + "\n")


@dataclass(kw_only=True)
class Figures(Computing):
    """Draw a run's bound, traversals, samples, calibration, filters and factors, as PNG files."""

    run: Positional[Path]
    """run folder"""
    baseline: Path | None = None
    """run folder of a plain GAN, or of another run, to draw in the bound's figure"""
    animate: Literal["gif", "png"] | None = None
    """also write each traversal as an animation, which goes there and back"""
    units: int | None = None
    """also show held out images that so many units of the trunk's last convolution answer to, and
    which pixels they answer to (extra attribution)"""
    seed: int = 0
    """of noise and codes"""
    data: Path | None = None
    """files that the experiment reads its images from, where they are no longer where they were"""
    out: Path | None = None
    """folder for the figures; the run's by default"""

    def __call__(self) -> None:
        """Write them.

        bound.png, game.png, samples.png, calibration.png, filters.png, traverse-<code>.png and
        factor-<name>.png; and animation-<code>.gif or .png, and units.png, where they are asked
        for.
        """
        from .. import figures
        from ..evaluation import against_truth, calibrate, responses
        from ..randomness import checked_seed
        from ..runs import Run
        from ..traversal import varies

        checked_seed(self.seed, "--seed")
        run, gan = load(self)
        out = self.out or run.folder

        def write(figure: Any, name: str) -> None:
            figures.write(figure, out / name)
            print(out / name, flush=True)

        held_out = images_of(run, train=False, path=self.data)
        clusters, following = against_truth(gan, held_out)
        lines = list(Run(self.baseline).metrics()) if self.baseline else []
        if self.baseline and not lines:
            raise DataError(
                "--baseline",
                got=f"{self.baseline}, which has no metrics",
                expected="a run folder",
                fix="Train one with --plain-gan.",
            )
        if self.units is not None:
            if held_out is None:
                raise DataError(
                    "--units",
                    got="a run that no experiment declared, which has no images",
                    expected="one of an experiment",
                    fix="Leave it out, and call pyro_infogan.evaluation.responses with images.",
                )
            shown = min(len(held_out), _SHOWN)
            answers = responses(gan, held_out, self.units, each=shown)
            write(figures.guided(answers), "units.png")
        metrics = list(run.metrics())
        beside = _called(self.baseline) if self.baseline else ""
        write(figures.bound(metrics, gan.entropies, lines, beside), "bound.png")
        write(figures.game(metrics), "game.png")
        write(figures.samples(gan, seed=self.seed), "samples.png")
        write(figures.calibration(calibrate(gan, seed=self.seed)), "calibration.png")
        if figures.first_convolution(gan):
            write(figures.filters(gan), "filters.png")
        for name, element, label in figures.traversals(gan):
            held: Any = {"element": element, "seed": self.seed, "clusters": clusters}
            write(figures.traverse(gan, name, **held), f"traverse-{label}.png")
            if self.animate:
                path = out / f"animation-{label}.{self.animate}"
                figures.animate(gan, name, **held).write(path)
                print(path, flush=True)
        for name, found in following.items():
            if not varies(gan, found.code):
                print(f"no picture of {name}: code {found.code!r} cannot be traversed", flush=True)
                continue
            write(figures.variation(gan, name, found, seed=self.seed), f"factor-{name}.png")


@dataclass(kw_only=True)
class Discover(Computing):
    """Say what each code found in a set of images, as one HTML page and a table."""

    run: Positional[Path]
    """run folder"""
    data: Path | None = None
    """folder of images; those that the run's experiment holds out, by default"""
    draws: int = 10_000
    """generated images for L_I"""
    seed: int = 0
    """of noise, codes and draws"""
    out: Path | None = None
    """folder for discovery.html; the run's by default"""
    codes: Path | None = None
    """file for the codes of every image, .csv or .parquet; codes.csv beside the page by default"""

    def __call__(self) -> None:
        """Write discovery.html and the table of codes."""
        from ..discovery import checked_table, discover, page, write_codes
        from ..errors import checked_count
        from ..randomness import checked_seed
        from ..runs import write_text

        checked_count("--draws", self.draws, least=2)
        checked_seed(self.seed, "--seed")
        out = self.out or self.run
        if self.out and out.exists() and not out.is_dir():
            raise DataError(
                "--out", got=f"the file {out}", expected="a folder", fix="Name one, new or not."
            )
        table = checked_table(self.codes or out / "codes.csv")
        run, gan = load(self)
        broken: list[DataError] = []
        images = _folder(self.data, gan, broken) if self.data else images_of(run, train=False)
        if images is None:
            raise DataError(
                "--data",
                got="nothing, and a run that no experiment declared",
                expected="a folder of images",
                fix="Name one: --data FOLDER.",
            )
        for error in broken:
            print(f"left out: {error}", file=sys.stderr)
        found = discover(gan, images, self.draws, self.seed)
        about = {
            "run": run,
            "experiment": run.experiment() or "none",
            "steps": f"{run.checkpoints()[-1][0]:,}",
            "source": self.data or "images that the experiment holds out",
        }
        title = f"What {run.folder.resolve().name} found"
        write_text(out / "discovery.html", page(gan, found, title, about, broken, self.seed))
        write_codes(found, table)
        print(f"{out / 'discovery.html'}\n{table}")


@dataclass(kw_only=True)
class Report(Computing):
    """Show a run on one HTML page: declared, trained, measured, drawn."""

    run: Positional[Path]
    """run folder"""
    data: Path | None = None
    """files of the published set, where they are not where the run read them"""
    draws: int = 10_000
    """generated images for L_I and the calibration"""
    seed: int = 0
    """of those draws, and of the pictures' noise and codes"""
    out: Path | None = None
    """HTML file to write; report.html in the run folder by default"""

    def __call__(self) -> None:
        """Measure, and write the page."""
        from ..errors import checked_count
        from ..evaluation import evaluate
        from ..randomness import checked_seed
        from ..report import page
        from ..runs import write_text

        checked_count("--draws", self.draws, least=2)
        checked_seed(self.seed, "--seed")
        out = self.out or self.run / "report.html"
        if out.is_dir():
            raise DataError(
                "--out", got=f"the folder {out}", expected="a file", fix="Name one: report.html."
            )
        run, gan = load(self)
        held_out = images_of(run, train=False, path=self.data)
        if self.data and held_out is None:
            raise DataError(
                "--data",
                got=f"{self.data}, and a run that no experiment declared",
                expected="a run of an experiment, which reads them",
                fix="Leave it out; pyro-infogan discover takes any folder of images.",
            )
        print("measuring", flush=True)
        measured = evaluate(gan, held_out, self.draws, self.seed)
        print("drawing", flush=True)
        write_text(out, page(run, gan, measured, self.seed))
        print(out)


def _folder(path: Path, gan: "InfoGAN", broken: list[DataError]) -> "ImageSet":
    """The pictures of a folder as a run takes them; errors of the others are put in ``broken``."""
    from ..datasets import folder

    channels, height, width = gan.image_shape
    if height != width or channels not in (1, 3):
        raise DataError(
            "--data",
            got=f"a run of images {gan.image_shape}",
            expected="square ones, grey (1 channel) or in colour (3)",
            fix="Read the files yourself and use pyro_infogan.discovery.",
        )
    return folder(path, height, grey=channels == 1, on_broken=broken.extend)
