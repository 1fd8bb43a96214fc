"""Generator and posterior as ONNX graphs, each compared with torch before it is handed out.

Codes go in and posteriors come out in the codes' own values: what the generator reads of a code
(one-hot, cosine and sine, a unit scale) is computed inside the graph.
"""

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..codes import NOISE
from ..errors import RunError
from ..infogan import InfoGAN
from ..randomness import seeded
from .extra import optional
from .numbers import Reading, told

__all__ = ["Graph", "generator_graph", "posterior_graph"]

TOLERANCE = 1e-4
"""How far ONNX Runtime may be from torch, as a share of a number above 1."""
# What the exporter itself writes: bringing it to a later one fails in some versions of torch.
_OPSET = 18
_BATCH = "images"
# Traced at one size, run at others, so that a batch written into the graph is found.
_TRACED, _TRIED = 5, (1, 7)


@dataclass(frozen=True)
class Graph:
    """An ONNX model that ONNX Runtime computes as torch does.

    Attributes:
        model: the file's bytes.
        inputs: names, in the model's order.
        outputs: names, in the model's order.
        difference: greatest difference from torch that was seen, as a share of a number above 1.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    difference: float


class _Generator(nn.Module):
    """Noise and codes to images."""

    def __init__(self, gan: InfoGAN) -> None:
        super().__init__()
        self.gan, self.names = gan, tuple(gan.prior.sites)

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        noise, *codes = inputs
        return (self.gan.decode(noise, dict(zip(self.names, codes, strict=True))),)


class _Posterior(nn.Module):
    """Images to the numbers of each posterior that can be told; of a guide, given the codes."""

    def __init__(self, gan: InfoGAN, reading: Reading) -> None:
        super().__init__()
        self.gan, self.reading = gan, reading

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        images, *codes = inputs
        given = dict(zip(self.gan.prior.sites, codes, strict=True)) if codes else {}
        found = told(self.gan.posteriors(images), given)
        return tuple(found.numbers[name] for name in self.reading.numbers)


def generator_graph(gan: InfoGAN) -> Graph:
    """The generator: ``noise`` (n, noise) and each code (n, event shape) by name to ``images``.

    Codes have the values their priors draw: categories are whole numbers (int64), angles radians.
    Those of continuous codes may lie outside the prior's support.

    Args:
        gan: a trained InfoGAN, which stays as it is.

    Raises:
        RunError: where the optional libraries are missing, a network cannot be exported, or ONNX
            Runtime computes something else.
    """
    gan = _plain(gan)

    def inputs(n: int) -> dict[str, Tensor]:
        noise, codes = gan.draw(n)
        return {NOISE: noise, **codes}

    return _graph("the generator", _Generator(gan), inputs, ["images"], _about(gan))


def posterior_graph(gan: InfoGAN) -> tuple[Graph | None, dict[str, str]]:
    """Q: ``images`` (n, C, H, W) in [0, 1] to the parameters of each code's posterior.

    An output is named as ``slant.loc``, the code and what ``pyro-infogan infer`` calls the number;
    of codes with a joint posterior, ``slant,width.loc``. A guide's codes may depend on earlier
    ones: its graph takes the codes beside the images, and gives each code's posterior given those
    before.

    Args:
        gan: a trained InfoGAN, which stays as it is.

    Returns:
        The graph, or None where no posterior can be told by numbers; and for each code that is left
        out, why.

    Raises:
        RunError: as :func:`generator_graph`.
    """
    gan = _plain(gan)
    guided = not gan.posterior.families

    def inputs(n: int) -> dict[str, Tensor]:
        noise, codes = gan.draw(n)
        return {"images": gan.decode(noise, codes), **(codes if guided else {})}

    with torch.no_grad(), seeded(0):
        images, *codes = inputs(_TRACED).values()
        given = dict(zip(gan.prior.sites, codes, strict=True)) if guided else {}
        reading = told(gan.posteriors(images), given)
    if not reading.numbers:
        return None, reading.left_out
    about = {**_about(gan), "families": json.dumps(reading.families)}
    module, names = _Posterior(gan, reading), list(reading.numbers)
    return _graph("the posterior", module, inputs, names, about), reading.left_out


def _plain(gan: InfoGAN) -> InfoGAN:
    """A copy to trace: on the CPU, in float32, in evaluation mode."""
    return copy.deepcopy(gan).to("cpu", torch.float32).eval().requires_grad_(False)


def _about(gan: InfoGAN) -> dict[str, str]:
    return {"declaration": json.dumps(gan.declaration())}


def _graph(
    what: str,
    module: nn.Module,
    draw: Callable[[int], dict[str, Tensor]],
    outputs: Sequence[str],
    about: Mapping[str, str],
) -> Graph:
    """Trace a module, and compare what became of it with the module at other batch sizes."""
    with torch.no_grad(), seeded(0), pyro.validation_enabled(False):
        model = _traced(what, module.eval(), draw(_TRACED), outputs, about)
        session = optional("onnxruntime").InferenceSession(model, _quiet_runtime())
        difference = 0.0
        for n in _TRIED:
            inputs = draw(n)
            got = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            difference = max(
                [
                    difference,
                    *map(_difference, map(torch.from_numpy, got), module(tuple(inputs.values()))),
                ]
            )
    # A NaN makes the comparison false.
    if not difference <= TOLERANCE:
        raise RunError(
            f"{what} as ONNX",
            got=f"a difference of {difference:.2g} between ONNX Runtime and torch",
            expected=f"at most {TOLERANCE:g}",
            fix="Check the networks for what depends on the batch, on chance or on float64; "
            "nothing was written.",
        )
    names = tuple(value.name for value in session.get_inputs())
    return Graph(model, names, tuple(outputs), difference)


def _difference(one: Tensor, other: Tensor) -> float:
    """The greatest difference, as a share of numbers above 1; infinite for another shape."""
    if one.shape != other.shape:
        return float("inf")
    return ((one - other).abs() / other.abs().clamp(min=1.0)).max().item()


def _quiet_runtime() -> Any:
    options = optional("onnxruntime").SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return options


def _traced(
    what: str,
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    about: Mapping[str, str],
) -> bytes:
    """The bytes of a module's ONNX model with ``about`` as metadata."""
    for name in ("onnx", "onnxscript"):
        optional(name)
    batch = {0: torch.export.Dim(_BATCH)}
    try:
        with _silence():
            program: Any = torch.onnx.export(
                module,
                (tuple(inputs.values()),),
                dynamo=True,
                dynamic_shapes=(tuple(batch for _ in inputs),),
                input_names=[f"in:{name}" for name in inputs],
                output_names=[f"out:{name}" for name in outputs],
                opset_version=_OPSET,
                custom_translation_table=_translations(),
                verbose=False,
            )
        model = program.model_proto
    except Exception as error:  # every stage of the exporter has its own types
        raise RunError(
            f"{what} as ONNX",
            got=f"{type(error).__name__}: {_reason(error)}",
            expected="networks that torch.onnx can export",
            fix="Write the part it names with operations that ONNX has; the cause is shown with "
            "--debug.",
        ) from error
    _strip(model)
    _rename(model.graph)
    optional("onnx").helper.set_model_props(model, dict(about))
    return model.SerializeToString()


def _reason(error: BaseException) -> str:
    """The first line of what began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _strip(model: Any) -> None:
    """Remove what the exporter notes of the source, which names files of this machine."""
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for value in model.graph.initializer:
        del value.metadata_props[:]


def _rename(graph: Any) -> None:
    """Give inputs and outputs their names, which the exporter may have for values of its own.

    Those get an underscore in front, which the name of a code never has.
    """

    def named(name: str) -> str:
        kind, _, rest = name.partition(":")
        return rest if kind in ("in", "out") and rest else name and f"_{name}"

    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = named(value.name)
    for node in graph.node:
        node.input[:] = map(named, node.input)
        node.output[:] = map(named, node.output)
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _rename(inner)


def _translations() -> dict[Any, Callable]:
    """What the exporter does not know of the operations that families use."""
    op = optional("onnxscript").opset18

    def hypot(self: Any, other: Any) -> Any:
        return op.Sqrt(op.Add(op.Mul(self, self), op.Mul(other, other)))

    return {torch.ops.aten.hypot.default: hypot, torch.ops.prims.hypot.default: hypot}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress, hints and warnings from the user."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
