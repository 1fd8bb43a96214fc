"""The command line. Everything heavy is imported inside the commands, so that --help is instant."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, Positional, arg, subcommand

from .errors import DataError, DeclarationError, DivergenceError, InfoGANError, Stopped

if TYPE_CHECKING:
    from .datasets import ImageSet
    from .distributed import Alone
    from .infogan import InfoGAN
    from .models import Experiment
    from .runs import Run

__all__ = ["main"]

_UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"
# Images side by side in a picture of reconstructions.
_COLUMNS = 10


@dataclass(kw_only=True)
class Command:
    """What every command has."""

    device: str | None = None
    """where to compute, such as cpu or cuda; a GPU if there is one, by default"""
    debug: bool = False
    """show the traceback of an error"""


@dataclass(kw_only=True)
class Train(Command):
    """Train an experiment into a run folder."""

    experiment: Positional[str]
    """a built-in name (see the command experiments), my_codes.py, or my_codes.py:name"""
    data: Path | None = None
    """files of the published set, for an experiment that draws its own images without them"""
    variation: str | None = None
    """the paper's rates and weights for one factor of faces or chairs, such as elevation"""
    steps: int | None = None
    """updates of each player; the experiment's by default"""
    batch_size: int | None = None
    """images in each update, of each process under torchrun; the experiment's by default"""
    seed: int = 0
    """of the weights, the order of the data, and every draw"""
    out: Path | None = None
    """run folder; runs/<experiment>[-<variation>] by default"""
    resume: bool = False
    """go on from the run folder's newest good checkpoint, where there is one"""
    labelled: int | None = None
    """let so many images keep their labels, as observations of codes (semi-supervised InfoGAN)"""
    balanced: bool = False
    """as many labels of each class, rather than drawn evenly"""
    save_every: int = 1_000
    """steps between checkpoints"""
    tensorboard: bool = False
    """also write metrics and pictures for TensorBoard into the run folder"""
    plain_gan: bool = False
    """Figure 1's baseline: Q is fitted beside a plain GAN, which never feels it"""

    def __call__(self) -> None:
        """Build the experiment's InfoGAN from the seed, and train it."""
        from .distributed import join

        with join(self.device) as group:
            self._train(group)

    def _train(self, group: "Alone") -> None:
        import torch

        from .callbacks import TensorBoard
        from .inference import PLAIN_GAN
        from .infogan import InfoGAN
        from .training import train

        _check_seed(self.seed)
        name, experiment, file = _experiment(self.experiment)
        experiment = experiment.varied(self.variation) if self.variation else experiment
        labelled = str(self.labelled) if self.labelled is not None else None
        parts = (name, self.variation, labelled, "plain" if self.plain_gan else None)
        out = self.out or Path("runs") / "-".join(filter(None, parts))
        callbacks = [TensorBoard(out / "tensorboard")] if self.tensorboard else []
        torch.manual_seed(self.seed)
        gan = InfoGAN.from_experiment(experiment)
        if group.first:
            print(f"{gan}\nimages: {experiment.source(self.data)}", flush=True)
        with group.in_turn():
            dataset = experiment.images(train=True, path=self.data)
        steps = self.steps if self.steps is not None else experiment.steps
        if group.first:
            print(f"training on {len(dataset):,} images into {out}", flush=True)
        lines = train(
            gan,
            dataset,
            labels=self._labels(experiment, dataset),
            steps=steps,
            batch_size=self.batch_size if self.batch_size is not None else experiment.batch_size,
            seed=self.seed,
            out=out,
            device=group.device,
            objective=PLAIN_GAN if self.plain_gan else experiment.objective,
            rates=experiment.rates,
            resume=self.resume,
            save_every=self.save_every,
            callbacks=callbacks,
            experiment=name,
            experiment_file=file,
            experiment_data=self.data.absolute() if self.data else None,
        )
        if group.first:
            print(f"{out} has {lines[-1]['step']:,} steps; see it: pyro-infogan evaluate {out}")

    def _labels(self, experiment: "Experiment", dataset: Any) -> dict[str, Any] | None:
        from .datasets import few_labels

        if self.labelled is None:
            if self.balanced:
                raise DataError(
                    "--balanced",
                    got="no number of labels",
                    expected="--labelled N beside it",
                    fix="Say how many labels there are.",
                )
            return None
        chosen = {"balanced": self.balanced, "seed": self.seed}
        return {
            name: few_labels(values, self.labelled, **chosen)
            for name, values in experiment.observed(dataset).items()
        }


@dataclass(kw_only=True)
class Evaluate(Command):
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

    def __call__(self) -> None:
        """Write report.json and a confusion figure for each categorical code."""
        import dataclasses
        import json

        from . import figures
        from .datasets import ImageSet
        from .evaluation import cluster_features, evaluate, fit_reader, probe
        from .runs import write_text

        run, gan = _load(self)
        _check_seed(self.seed)
        held_out = _images(run, train=False)
        asked = self.sweeps or self.clusters is not None or self.probe is not None
        train: Any = _images(run, train=True) if asked else None
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
        for name, found in report.clustering.items():
            figures.write(figures.confusion(found, name), run.folder / f"confusion-{name}.png")
        write_text(run.folder / "report.json", json.dumps(report.data(), indent=2) + "\n")
        print(report)
        if not report.clustering and not report.following:
            print("no accuracy: the run has no experiment with labelled images and categories")


@dataclass(kw_only=True)
class Figures(Command):
    """Draw a run's bound, traversals, samples, calibration, filters and factors, as PNG files."""

    run: Positional[Path]
    """run folder"""
    baseline: Path | None = None
    """run folder of a plain GAN, to draw in the bound's figure"""
    animate: Literal["gif", "png"] | None = None
    """also write each traversal as an animation, which goes there and back"""
    seed: int = 0
    """of noise and codes"""

    def __call__(self) -> None:
        """Write them.

        bound.png, game.png, samples.png, calibration.png, filters.png, traverse-<code>.png and
        factor-<name>.png; and animation-<code>.gif or .png where it is asked for.
        """
        from . import figures
        from .evaluation import against_truth, calibrate
        from .runs import Run

        run, gan = _load(self)
        held_out = _images(run, train=False)
        clusters, following = against_truth(gan, held_out)
        lines = list(Run(self.baseline).metrics()) if self.baseline else []
        if self.baseline and not lines:
            raise DataError(
                "--baseline",
                got=f"{self.baseline}, which has no metrics",
                expected="a run folder",
                fix="Train one with --plain-gan.",
            )
        metrics = list(run.metrics())
        curves = figures.bound(metrics, gan.entropies, lines)
        figures.write(curves, run.folder / "bound.png")
        figures.write(figures.game(metrics), run.folder / "game.png")
        figures.write(figures.samples(gan, seed=self.seed), run.folder / "samples.png")
        calibration = figures.calibration(calibrate(gan, seed=self.seed))
        figures.write(calibration, run.folder / "calibration.png")
        if figures.first_convolution(gan):
            figures.write(figures.filters(gan), run.folder / "filters.png")
        for name, element, label in figures.traversals(gan):
            held: Any = {"element": element, "seed": self.seed, "clusters": clusters}
            figures.write(figures.traverse(gan, name, **held), run.folder / f"traverse-{label}.png")
            if self.animate:
                moving = figures.animate(gan, name, **held)
                moving.write(run.folder / f"animation-{label}.{self.animate}")
        for name, found in following.items():
            figure = figures.variation(gan, name, found, seed=self.seed)
            figures.write(figure, run.folder / f"factor-{name}.png")


@dataclass(kw_only=True)
class Sample(Command):
    """Generate a grid of images, with some codes held."""

    run: Positional[Path]
    """run folder"""
    codes: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE ...")] = ()
    """codes to hold, such as digit=3 slant=0.5; numbers of a vector code go with commas"""
    count: int = 64
    """how many images"""
    seed: int = 0
    """of noise and codes"""
    out: Path = Path("samples.png")
    """PNG file to write"""

    def __call__(self) -> None:
        """Write the grid."""
        from PIL import Image

        from .errors import checked_count
        from .figures import sheet
        from .randomness import seeded
        from .runs import replace

        checked_count("--count", self.count, least=1)
        _check_seed(self.seed)
        _, gan = _load(self)
        with seeded(self.seed, gan.device):
            images = gan.generate(self.count, _held(self.codes))
        grid = (sheet(images, round(self.count**0.5)) * 255).round().astype("uint8")
        replace(self.out, lambda file: Image.fromarray(grid).save(file, format="PNG"))


@dataclass(kw_only=True)
class Infer(Command):
    """Print the posterior of each image's codes, a JSON line an image."""

    run: Positional[Path]
    """run folder"""
    images: Positional[tuple[Path, ...]]
    """image files; they are converted to the run's size and channels"""

    def __call__(self) -> None:
        """One line each: the file, and for each code its family and parameters."""
        import json

        import torch

        from .codes import label
        from .datasets import read_image
        from .inference import parameters

        if not self.images:
            raise DataError("infer", got="no image", expected="one or more files", fix="Name them.")
        _, gan = _load(self)
        images = torch.stack([read_image(path, gan.image_shape) for path in self.images])
        posteriors = gan.infer(images)
        for index, path in enumerate(self.images):
            codes = {}
            for name, posterior in posteriors.items():
                family, values = parameters(posterior)
                chosen = {key: value[index].tolist() for key, value in values.items()}
                codes[label(name)] = {"family": family, **chosen}
            print(json.dumps({"image": str(path), "codes": codes}))


@dataclass(kw_only=True)
class Reconstruct(Command):
    """Explain images by the generator: codes that Q starts and the pixels refine, as JSON lines."""

    run: Positional[Path]
    """run folder"""
    images: Positional[tuple[Path, ...]]
    """image files; they are converted to the run's size and channels"""
    scale: float = 0.1
    """standard deviation of a pixel about the generated one, where pixels go from 0 to 1"""
    steps: int = 300
    """updates of each fit"""
    candidates: int = 10
    """how many values of the discrete codes are tried for each image"""
    seed: int = 0
    """of the draws"""
    out: Path = Path("reconstructions.png")
    """PNG file to write: each image above its reconstruction"""

    def __call__(self) -> None:
        """Write the picture, and one line each: file, codes, probabilities, and error."""
        import json

        import numpy as np
        import torch
        from PIL import Image

        from .datasets import read_image
        from .figures import sheet
        from .images import scaled
        from .inversion import refine
        from .randomness import seeded
        from .runs import replace

        if not self.images:
            raise DataError(
                "reconstruct", got="no image", expected="one or more files", fix="Name them."
            )
        _check_seed(self.seed)
        _, gan = _load(self)
        images = torch.stack([read_image(path, gan.image_shape) for path in self.images])
        with seeded(self.seed, gan.device):
            found = refine(gan, images, self.scale, self.steps, candidates=self.candidates)
        originals, reconstructed = scaled(images), found.images.cpu()
        columns = min(_COLUMNS, len(images))
        rows = [
            sheet(row, columns)
            for pair in zip(originals.split(columns), reconstructed.split(columns), strict=True)
            for row in pair
        ]
        grid = (np.concatenate(rows) * 255).round().astype("uint8")
        replace(self.out, lambda file: Image.fromarray(grid).save(file, format="PNG"))
        errors = (originals - reconstructed).square().mean((1, 2, 3)).sqrt().tolist()
        for index, path in enumerate(self.images):
            line = {
                "image": str(path),
                "codes": {name: value[index].tolist() for name, value in found.codes.items()},
                "posterior": {
                    name: value[index].tolist() for name, value in found.posterior.items()
                },
                "rmse": errors[index],
            }
            print(json.dumps(line))


@dataclass(kw_only=True)
class Discover(Command):
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
        from .discovery import checked_table, discover, page, write_codes
        from .runs import write_text

        _check_seed(self.seed)
        out = self.out or self.run
        table = checked_table(self.codes or out / "codes.csv")
        run, gan = _load(self)
        broken: list[DataError] = []
        images = _folder(self.data, gan, broken) if self.data else _images(run, train=False)
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
class Export(Command):
    """Write generator and posterior as ONNX, weights as safetensors, and a page for browsers."""

    run: Positional[Path]
    """run folder"""
    out: Path | None = None
    """folder; export in the run's by default"""
    web: bool = False
    """also write web, a folder of static files that runs the generator in any browser"""

    def __call__(self) -> None:
        """Write generator.onnx, posterior.onnx, weights.safetensors, and web if asked for."""
        from .export import write

        run, gan = _load(self)
        out = self.out or self.run / "export"
        title = f"{run.folder.resolve().name}, an InfoGAN" if self.web else None
        if gan.prior.written:
            print("the codes are a program, which stays in Python: the graphs take its codes")
        print("tracing the networks, and comparing ONNX Runtime with torch", flush=True)
        written = write(gan, out, title)
        for path in written.files:
            graph = written.graphs.get(path.name)
            print(f"{path}{f', within {graph.difference:.1g} of torch' if graph else ''}")
        for name, reason in written.left_out.items():
            print(f"posterior.onnx has no {name}: {reason}", file=sys.stderr)


@dataclass(kw_only=True)
class Report(Command):
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
        from .errors import checked_count
        from .evaluation import evaluate
        from .report import page
        from .runs import write_text

        checked_count("--draws", self.draws, least=2)
        _check_seed(self.seed)
        out = self.out or self.run / "report.html"
        if out.is_dir():
            raise DataError(
                "--out", got=f"the folder {out}", expected="a file", fix="Name one: report.html."
            )
        run, gan = _load(self)
        held_out = _images(run, train=False, path=self.data)
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


@dataclass(kw_only=True)
class Explore(Command):
    """Move a run's codes by hand, on a page in the browser (extra explore)."""

    run: Positional[Path]
    """run folder"""
    port: int = 0
    """of this machine alone; any free one by default"""
    browser: bool = True
    """leave the browser closed, and print the address alone"""

    def __call__(self) -> None:
        """Serve the page until Ctrl-C."""
        from .explorer import serve
        from .explorer.page import gradio

        gradio()
        run, gan = _load(self)
        serve(gan, run.folder.resolve().name, self.port, self.browser)


@dataclass(kw_only=True)
class Experiments(Command):
    """List the built-in experiments."""

    def __call__(self) -> None:
        """One line each: its name and its codes."""
        from .models import built_in

        for name, experiment in built_in().items():
            print(f"{name:12} {experiment.steps} steps; {experiment.summary}")


Commands = (
    Annotated[Train, subcommand("train")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Figures, subcommand("figures")]
    | Annotated[Sample, subcommand("sample")]
    | Annotated[Infer, subcommand("infer")]
    | Annotated[Reconstruct, subcommand("reconstruct")]
    | Annotated[Discover, subcommand("discover")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Explore, subcommand("explore")]
    | Annotated[Experiments, subcommand("experiments")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Exits with 2 on bad usage, with 1 on a failure, and with 130 or 143 when it is told to stop by
    Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args)
    command: Any = tyro.cli(
        FlagCreatePairsOff[OmitSubcommandPrefixes[Commands]],
        args=words,
        prog="pyro-infogan",
        description="InfoGAN as a probabilistic program.",
    )
    try:
        command()
    except Stopped as stop:
        if _speaks():
            print(f"{stop}\nTo go on: {_resuming(words)}", file=sys.stderr)
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if command.debug:
            raise
        if isinstance(error, InfoGANError):
            # All processes come to this one alike; any other error is a process's own.
            if _speaks() or not isinstance(error, DivergenceError):
                print(f"error: {error}", file=sys.stderr)
        else:
            said = (str(error).splitlines() or [""])[0]
            print(
                f"internal error: {type(error).__name__}: {said}. Run it again with --debug to see "
                "where, and please report it.",
                file=sys.stderr,
            )
        sys.exit(1)


def _resuming(words: Sequence[str]) -> str:
    """The command that goes on with a run."""
    known = [] if "--resume" in words else ["--resume"]
    if _UNDER_TORCHRUN in os.environ:
        return " ".join(["the same torchrun command", *(f"with {word}" for word in known)])
    return shlex.join(["pyro-infogan", *words, *known])


def _speaks() -> bool:
    """Whether this process tells what all have come to: of several, the first."""
    return _UNDER_TORCHRUN not in os.environ or os.environ.get("RANK") == "0"


def _experiment(reference: str) -> tuple[str, "Experiment", Path | None]:
    """Name, experiment and file of ``mnist``, ``my_codes.py`` or ``my_codes.py:name``."""
    from .models import built_in, load_file

    known = built_in()
    if reference in known:
        return reference, known[reference], None
    path, _, name = reference.partition(":")
    if not path.endswith(".py"):
        raise DeclarationError(
            "experiment",
            got=repr(reference),
            expected=f"one of {', '.join(known)}, or a Python file",
            fix="See pyro-infogan experiments.",
        )
    experiment, name = load_file(Path(path), name or None)
    return name, experiment, Path(path)


def _load(command: Any) -> tuple["Run", "InfoGAN"]:
    from .devices import usable_device
    from .infogan import InfoGAN
    from .runs import Run

    return Run(command.run), InfoGAN.load(command.run, usable_device(command.device))


def _images(run: "Run", train: bool, path: Path | None = None) -> Any:
    """Images of a run's experiment, held out or not; none for a run that no experiment declared.

    They are read from where the run read them, if ``path`` says no other place.
    """
    from .models import built_in, load_file

    kept = run.experiment_file()
    if kept:
        experiment, _ = load_file(*kept)
    else:
        experiment = built_in().get(run.experiment() or "")
    return experiment.images(train, path or run.data()) if experiment else None


def _folder(path: Path, gan: "InfoGAN", broken: list[DataError]) -> "ImageSet":
    """The pictures of a folder as a run takes them; errors of the others are put in ``broken``."""
    from .datasets import folder

    channels, height, width = gan.image_shape
    if height != width or channels not in (1, 3):
        raise DataError(
            "--data",
            got=f"a run of images {gan.image_shape}",
            expected="square ones, grey (1 channel) or in colour (3)",
            fix="Read the files yourself and use pyro_infogan.discovery.",
        )
    return folder(path, height, grey=channels == 1, on_broken=broken.extend)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise DataError(
            "--seed", got=seed, expected="a number from 0 to 2^63 − 1", fix="Choose another."
        )


def _held(codes: Sequence[str]) -> dict[str, Any]:
    """Values of ``digit=3``, ``slant=0.5`` and ``style=0.1,-0.2``."""
    held = {}
    for code in codes:
        name, _, text = code.partition("=")
        try:
            numbers = [_number(part) for part in text.split(",")]
        except ValueError:
            raise DataError(
                "--codes",
                got=repr(code),
                expected="a name, an equals sign and a number, such as digit=3",
                fix="Separate several codes with spaces, and numbers of one code with commas.",
            ) from None
        if name in held:
            raise DataError(
                "--codes", got=f"{name!r} twice", expected="each code once", fix="Drop one."
            )
        held[name] = numbers[0] if len(numbers) == 1 else numbers
    return held


def _number(text: str) -> int | float:
    """A whole number where it is written as one, so that a category can be told from 3.5."""
    try:
        return int(text)
    except ValueError:
        return float(text)
