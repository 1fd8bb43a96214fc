"""The command line. Everything heavy is imported inside the commands, so that --help is instant."""

import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, subcommand

from ..errors import DivergenceError, InfoGANError, Stopped, in_short
from .measuring import Discover, Evaluate, Figures, Report
from .training import Experiments, Train
from .using import Explore, Export, Infer, Reconstruct, Sample

__all__ = ["main"]

_UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"

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
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths need not be text in the terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    if "" in words:
        # As a path it would be the working directory.
        print(
            f"error: arguments: got {shlex.join(words)}, expected no empty one. Set the variable "
            "that it was to come from, or leave it out.",
            file=sys.stderr,
        )
        sys.exit(2)
    command: Any = tyro.cli(
        FlagCreatePairsOff[OmitSubcommandPrefixes[Commands]],
        args=words,
        prog="pyro-infogan",
        description="InfoGAN as a probabilistic program.",
    )
    try:
        with nullcontext() if command.debug else _plain_warnings():
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
            print(
                f"internal error: {in_short(error)}. Run it again with --debug to see "
                "where, and please report it.",
                file=sys.stderr,
            )
        sys.exit(1)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Inside, a warning is its text alone: the line of our code that gave it tells nobody much."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _resuming(words: Sequence[str]) -> str:
    """The command that goes on with a run."""
    known = [] if "--resume" in words else ["--resume"]
    if _UNDER_TORCHRUN in os.environ:
        return " ".join(["the same torchrun command", *(f"with {word}" for word in known)])
    return shlex.join(["pyro-infogan", *words, *known])


def _speaks() -> bool:
    """Whether this process tells what all have come to: of several, the first."""
    return _UNDER_TORCHRUN not in os.environ or os.environ.get("RANK") == "0"
