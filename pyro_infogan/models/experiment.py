"""An experiment: everything a run needs, declared in a few lines and named."""

import importlib.util
import itertools
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..codes import Declaration, Key
from ..errors import DeclarationError, InfoGANError, in_short
from ..inference import INFOGAN, PAPER_RATES, Chosen, Objective, Rates, in_words
from . import networks as nets

__all__ = ["Experiment", "Variation", "load_file"]


# One name for every file, so that a run's own copy names its parts as the original did.
_MODULE = "_experiment"


@dataclass(frozen=True)
class Variation:
    """Settings with which an experiment makes one factor of its images visible.

    Attributes:
        rates: Adam's settings.
        information_weights: λ of each code that is not to have its default.
        posterior: as the experiment's, which it has by default.
        objective: as the experiment's, which it has by default.
    """

    rates: Rates
    information_weights: Mapping[str, float] | Mapping[Key, float]
    posterior: Chosen | None = None
    objective: Objective | None = None


@dataclass(frozen=True)
class Experiment:
    """What to train, on what, and how.

    Attributes:
        codes: a Pyro distribution for each code, or a Pyro program that samples them; every run of
            a module starts from the parameters it has here.
        image_shape: (channels, height, width).
        data: ``data(train=True)`` gives the images to train on, ``data(train=False)`` those to
            evaluate on: one of :mod:`pyro_infogan.datasets`, or a tensor (n, C, H, W).
        real: ``real(path, train=...)`` gives the same of the files at a path that the command line
            names with ``--data``; without ``data`` beside it, it must.
        variations: other rates, λ, posteriors and objectives by name.
        labels: of codes that can be observed, by name: ``labels[code](dataset)``, as ``train``
            takes them. They are used only where a number of labels is asked for.
        noise: size of the incompressible noise z.
        posterior: families for codes that are not to have their default, or a guide.
        information_weights: λ for codes that are not to have their default.
        networks: builds generator and trunk.
        objective: the terms of the game.
        rates: Adam's settings.
        steps: updates of each player.
        batch_size: images in each.
    """

    codes: Declaration
    image_shape: tuple[int, int, int]
    data: Callable[..., Any] | None = None
    real: Callable[..., Any] | None = None
    variations: Mapping[str, Variation] = field(default_factory=dict)
    labels: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=dict)
    noise: int = 62
    posterior: Chosen = field(default_factory=dict)
    information_weights: Mapping[str, float] | Mapping[Key, float] = field(default_factory=dict)
    networks: nets.Networks = nets.for_shape
    objective: Objective = INFOGAN
    rates: Rates = PAPER_RATES
    steps: int = 5_000
    batch_size: int = 128

    def images(self, train: bool, path: Path | None = None) -> Any:
        """What ``data(train=...)`` gives, or ``real(path, train=...)`` where there is a path.

        Raises:
            DeclarationError: where it fails, or for a path that the experiment has no use for.
        """
        call = f"real(path, train={train})" if path else f"data(train={train})"
        with _of_the_user(
            "the experiment's data",
            expected=f"images from {call}",
            fix=f"Write it as in def {'real(path, train=True)' if path else 'data(train=True)'}",
        ):
            return self._source(path)(train=train)

    def _source(self, path: Path | None) -> Callable[..., Any]:
        if path and self.real:
            return partial(self.real, path)
        if self.data and not path:
            return self.data
        raise DeclarationError(
            "--data",
            got=str(path) if path else "none",
            expected="no files: this experiment has its own images"
            if path
            else "the files to train on: this experiment has no images of its own",
            fix="Leave it out, or declare an Experiment with real=." if path else "Name them.",
        )

    def check_labels(self) -> None:
        """Refuse an experiment whose codes have no labels.

        Raises:
            DeclarationError: for one.
        """
        if not self.labels:
            raise DeclarationError(
                "--labelled",
                got="an experiment whose codes have no labels",
                expected="one that declares them",
                fix='Declare labels={"code": lambda dataset: dataset.labels} in the Experiment.',
            )

    def observed(self, dataset: Any) -> dict[str, Tensor]:
        """Labels of each code that has any.

        Raises:
            DeclarationError: for an experiment that has none, or where reading them fails.
        """
        self.check_labels()
        found = {}
        for name, read in self.labels.items():
            with _of_the_user(
                f"the experiment's labels of code {name!r}",
                expected="one label for each image, from a function of the images' set",
                fix="Write it as in lambda dataset: dataset.labels",
            ):
                found[name] = read(dataset)
                if not isinstance(found[name], Tensor):
                    raise TypeError(f"a {type(found[name]).__name__}, and no tensor")
        return found

    def source(self, path: Path | None = None) -> str:
        """Where the images come from, in a line.

        Raises:
            DeclarationError: for a path that the experiment has no use for, or none where it needs
                one.
        """
        self._source(path)
        if path:
            return f"{path}, read by {_name(self.real)}"
        name = _name(self.data)
        return f"{name}; --data PATH gives those of {_name(self.real)}" if self.real else name

    def varied(self, name: str) -> "Experiment":
        """The experiment with the settings of one of its variations.

        Raises:
            DeclarationError: for one that it does not have.
        """
        if name not in self.variations:
            raise DeclarationError(
                "--variation",
                got=repr(name),
                expected=f"one of {', '.join(self.variations)}" if self.variations else "none",
                fix="Choose another, or leave it out.",
            )
        chosen = self.variations[name]
        return replace(
            self,
            rates=chosen.rates,
            information_weights=chosen.information_weights,
            posterior=self.posterior if chosen.posterior is None else chosen.posterior,
            objective=chosen.objective or self.objective,
        )

    @property
    def summary(self) -> str:
        """The codes in one line."""
        if isinstance(self.codes, Mapping):
            priors = {name: in_words(prior) for name, prior in self.codes.items()}
            alike = itertools.groupby(priors, key=priors.__getitem__)
            return "; ".join(f"{_several(list(names))} ~ {prior}" for prior, names in alike)
        return f"the program {getattr(self.codes, '__name__', type(self.codes).__name__)}"


@contextmanager
def _of_the_user(what: str, expected: str, fix: str) -> Iterator[None]:
    """Errors of a function that the experiment's author wrote, told as the experiment's."""
    try:
        yield
    except InfoGANError:
        raise
    except Exception as error:
        got, frames = in_short(error), traceback.extract_tb(error.__traceback__)
        # Where there is one it was called as it should be, and failed by itself.
        inside = [frame for frame in frames if frame.filename != __file__]
        if inside:
            got += f", in line {inside[0].lineno} of {inside[0].filename}"
            fix = "Mend it"
        fix = f"{fix}; the cause is shown with --debug."
        raise DeclarationError(what, got=got, expected=expected, fix=fix) from error


def _several(names: list[str]) -> str:
    return ", ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}"


def _name(source: Any) -> str:
    source = source.func if isinstance(source, partial) else source
    name = getattr(source, "__name__", None) or repr(source)
    return "a function of its own" if name == "<lambda>" else name


def load_file(
    path: Path, name: str | None = None, origin: Path | None = None
) -> tuple[Experiment, str]:
    """The experiment that a Python file declares, and its name. The file is code, and runs.

    As with a script, what stands beside it can be imported while it runs.

    Args:
        path: the file.
        name: which of its experiments, where it declares several.
        origin: of a copy the file that it was made of: what it finds by ``__file__`` and imports
            is what stood beside that, if it is still there.

    Raises:
        DeclarationError: for a file that is missing, fails, or does not declare the experiment.
    """
    if not path.is_file():
        raise DeclarationError(
            "experiment file",
            got=f"{path}, which does not exist",
            expected="a Python file",
            fix="Check the path.",
        )
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise DeclarationError(
            "experiment file", got=str(path), expected="a file ending in .py", fix="Rename it."
        )
    module = importlib.util.module_from_spec(spec)
    place = (origin if origin and origin.parent.is_dir() else path).absolute()
    module.__file__ = str(place)
    # Dataclasses and type hints of the file look their module up here.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(place.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(spec.name)
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).absolute() == path.absolute()
        ]
        raise DeclarationError(
            f"experiment file {path}",
            got=in_short(error) + (f" in line {lines[-1]}" if lines else ""),
            expected="a file that runs by itself",
            fix="Mend it; the cause is shown with --debug.",
        ) from error
    finally:
        sys.path.remove(str(place.parent))
    found = {key: value for key, value in vars(module).items() if isinstance(value, Experiment)}
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name not in found:
        raise DeclarationError(
            f"experiment file {path}",
            got=f"experiments {list(found)}" if found else "no experiment",
            expected=f"an Experiment named {name!r}" if name else "one Experiment",
            fix=f"Name one as {path}:{next(iter(found), 'name')}."
            if found
            else "Declare one: mine = Experiment(codes=..., image_shape=..., data=...).",
        )
    return found[name], name
