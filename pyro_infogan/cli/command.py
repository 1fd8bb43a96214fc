"""What the commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..infogan import InfoGAN
    from ..runs import Run

__all__ = ["Command", "Computing", "images_of", "load"]


@dataclass(kw_only=True)
class Command:
    """What every command has."""

    debug: bool = False
    """show the traceback of an error"""


@dataclass(kw_only=True)
class Computing(Command):
    """What every command has that runs networks."""

    device: str | None = None
    """where to compute, such as cpu or cuda; a GPU if there is one, by default"""


def load(command: Any) -> tuple["Run", "InfoGAN"]:
    """The run folder of a command, and the InfoGAN in it on the command's device."""
    from ..devices import usable_device
    from ..infogan import InfoGAN
    from ..runs import Run

    return Run(command.run), InfoGAN.load(command.run, usable_device(command.device))


def images_of(run: "Run", train: bool, path: Path | None = None) -> Any:
    """Images of a run's experiment, held out or not; none for a run that no experiment declared.

    They are read from where the run read them, if ``path`` says no other place.
    """
    from ..models import built_in, load_file

    kept = run.experiment_file()
    if kept:
        experiment, _ = load_file(*kept)
    else:
        experiment = built_in().get(run.experiment() or "")
    return experiment.images(train, path or run.data()) if experiment else None
