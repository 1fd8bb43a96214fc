"""Everything at once, into one folder."""

from dataclasses import dataclass
from pathlib import Path

from ..infogan import InfoGAN
from ..runs import replace
from .controls import described
from .graphs import Graph, generator_graph, posterior_graph
from .runtime import runtime
from .web import write_page
from .weights import save

__all__ = ["Written", "write"]


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        files: in the order they were written; the page is its ``index.html``.
        graphs: those of the ONNX files, by file name.
        left_out: codes whose posterior is in no graph, and why.
    """

    files: tuple[Path, ...]
    graphs: dict[str, Graph]
    left_out: dict[str, str]


def write(gan: InfoGAN, folder: str | Path, title: str | None = None) -> Written:
    """Write ``generator.onnx``, ``posterior.onnx`` and ``weights.safetensors``.

    Nothing is written before both graphs have been compared with torch.

    Args:
        gan: a trained InfoGAN, which stays as it is.
        folder: where; files of the same names are replaced.
        title: if given, write the page into its folder ``web`` too, under this title.

    Raises:
        RunError: where optional libraries or onnxruntime-web are missing, a network cannot be
            exported, ONNX Runtime computes something else, or the folder cannot be written to.
        DataError: for a page, of a code that has no control.
    """
    folder = Path(folder)
    if title is not None:
        # What may be missing is told before the work.
        runtime()
        described(gan)
    graphs = {"generator.onnx": generator_graph(gan)}
    posterior, left_out = posterior_graph(gan)
    if posterior:
        graphs["posterior.onnx"] = posterior
    files = [folder / name for name in graphs]
    for path, graph in zip(files, graphs.values(), strict=True):
        _write_graph(path, graph)
    files.append(folder / "weights.safetensors")
    save(gan, files[-1])
    if title is not None:
        files.append(write_page(gan, graphs["generator.onnx"], folder / "web", title))
    return Written(tuple(files), graphs, left_out)


def _write_graph(path: Path, graph: Graph) -> None:
    replace(path, lambda file: file.write(graph.model))
