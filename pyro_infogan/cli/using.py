"""Commands that use a run's networks: generate, infer, explore, take elsewhere."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..errors import DataError
from .command import Computing, load

__all__ = ["Explore", "Export", "Infer", "Reconstruct", "Sample"]

# Images side by side in a picture of reconstructions.
_COLUMNS = 10


@dataclass(kw_only=True)
class Sample(Computing):
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

        from ..errors import checked_count
        from ..figures import sheet
        from ..randomness import checked_seed, seeded
        from ..runs import replace

        checked_count("--count", self.count, least=1)
        checked_seed(self.seed, "--seed")
        _check_png(self.out)
        _, gan = load(self)
        with seeded(self.seed):
            images = gan.generate(self.count, _held(self.codes))
        grid = (sheet(images, round(self.count**0.5)) * 255).round().astype("uint8")
        replace(self.out, lambda file: Image.fromarray(grid).save(file, format="PNG"))
        print(self.out)


def _check_png(out: Path) -> None:
    """Refuse a name that says that another kind of file is in it.

    Raises:
        DataError: for one.
    """
    if out.suffix.lower() not in (".png", ""):
        raise DataError("--out", got=str(out), expected="a name ending in .png", fix="Rename it.")


@dataclass(kw_only=True)
class Infer(Computing):
    """Print the posterior of each image's codes, a JSON line an image."""

    run: Positional[Path]
    """run folder"""
    images: Positional[tuple[Path, ...]]
    """image files; the middle of each, in the run's size and channels"""

    def __call__(self) -> None:
        """One line each: the file, and for each code its family and parameters."""
        import json

        import torch

        from ..codes import label
        from ..datasets import read_image
        from ..inference import parameters

        if not self.images:
            raise DataError("infer", got="no image", expected="one or more files", fix="Name them.")
        _, gan = load(self)
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
class Reconstruct(Computing):
    """Explain images by the generator: codes that Q starts and the pixels refine, as JSON lines."""

    run: Positional[Path]
    """run folder"""
    images: Positional[tuple[Path, ...]]
    """image files; the middle of each, in the run's size and channels"""
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

        from ..datasets import read_image
        from ..figures import sheet
        from ..images import scaled
        from ..inversion import refine
        from ..randomness import checked_seed, seeded
        from ..runs import replace

        if not self.images:
            raise DataError(
                "reconstruct", got="no image", expected="one or more files", fix="Name them."
            )
        checked_seed(self.seed, "--seed")
        _check_png(self.out)
        _, gan = load(self)
        images = torch.stack([read_image(path, gan.image_shape) for path in self.images])
        with seeded(self.seed):
            found = refine(gan, images, self.scale, self.steps, candidates=self.candidates)
        originals, reconstructed = scaled(images), found.images.cpu()
        columns = min(_COLUMNS, len(images))
        rows = [
            sheet(row, columns)
            for pair in zip(originals.split(columns), reconstructed.split(columns), strict=True)
            for row in pair
        ]
        grid = (np.concatenate(rows) * 255).round().astype("uint8")
        # The numbers first: the fits took minutes.
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
            print(json.dumps(line), flush=True)
        replace(self.out, lambda file: Image.fromarray(grid).save(file, format="PNG"))


@dataclass(kw_only=True)
class Export(Computing):
    """Write generator and posterior as ONNX, weights as safetensors, and a page for browsers."""

    run: Positional[Path]
    """run folder"""
    out: Path | None = None
    """folder; export in the run's by default"""
    web: bool = False
    """also write web, a folder of static files that runs the generator in any browser"""

    def __call__(self) -> None:
        """Write generator.onnx, posterior.onnx, weights.safetensors, and web if asked for."""
        from ..export import write

        run, gan = load(self)
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
class Explore(Computing):
    """Move a run's codes by hand, on a page in the browser (extra explore)."""

    run: Positional[Path]
    """run folder"""
    port: int = 0
    """of this machine alone; any free one by default"""
    browser: bool = True
    """leave the browser closed, and print the address alone"""

    def __call__(self) -> None:
        """Serve the page until Ctrl-C."""
        from ..explorer import serve
        from ..explorer.page import gradio

        gradio()
        run, gan = load(self)
        serve(gan, run.folder.resolve().name, self.port, self.browser)


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
