"""Commands that come before a run: what can be trained, and training it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from ..errors import DataError, DeclarationError
from .command import Command, Computing

if TYPE_CHECKING:
    from ..distributed import Alone
    from ..models import Experiment

__all__ = ["Experiments", "Train"]


@dataclass(kw_only=True)
class Train(Computing):
    """Train an experiment into a run folder."""

    experiment: Positional[str]
    """a built-in name (see the command experiments), my_codes.py, or my_codes.py:name"""
    data: Path | None = None
    """files of the published set, for an experiment that draws its own images without them"""
    variation: str | None = None
    """rates and weights for one factor of faces, chairs or svhn, such as elevation"""
    steps: int | None = None
    """updates of each player; the experiment's by default"""
    batch_size: int | None = None
    """images in each update, of each process under torchrun; the experiment's by default"""
    seed: int = 0
    """of the weights, the order of the data, and every draw"""
    out: Path | None = None
    """run folder; runs/<experiment>[-<variation>] by default"""
    precision: Literal["float32", "bfloat16"] | None = None
    """what the networks compute in; by default bfloat16 where the device is faster by it"""
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
        from ..distributed import join

        with join(self.device) as group:
            self._train(group)

    def _train(self, group: "Alone") -> None:
        import torch

        from ..callbacks import TensorBoard
        from ..infogan import InfoGAN
        from ..runs import Run
        from ..training import train

        self._check_counts()
        self._check_labels()
        name, experiment, file = _experiment(self.experiment)
        experiment = experiment.varied(self.variation) if self.variation else experiment
        objective = experiment.objective
        if self.plain_gan:
            objective = objective.without_information()
        labelled = str(self.labelled) if self.labelled is not None else None
        parts = (name, self.variation, labelled, "plain" if self.plain_gan else None)
        out = self.out or Path("runs") / "-".join(filter(None, parts))
        # Before the images are read, which may take long.
        if self.labelled is not None:
            experiment.check_labels()
        self._check_out(out)
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
        train(
            gan,
            dataset,
            labels=self._labels(experiment, dataset),
            steps=steps,
            batch_size=self.batch_size if self.batch_size is not None else experiment.batch_size,
            seed=self.seed,
            out=out,
            device=group.device,
            objective=objective,
            rates=experiment.rates,
            precision=getattr(torch, self.precision) if self.precision else None,
            resume=self.resume,
            save_every=self.save_every,
            callbacks=callbacks,
            experiment=name,
            experiment_file=file,
            experiment_data=self.data.absolute() if self.data else None,
        )
        if group.first:
            last, _ = Run(out).checkpoints()[-1]
            print(f"{out} has {last:,} steps; see it: pyro-infogan evaluate {out}")

    def _check_counts(self) -> None:
        from ..errors import checked_count
        from ..randomness import checked_seed

        checked_seed(self.seed, "--seed")
        for option, count, least in (
            ("--steps", self.steps, 1),
            ("--batch-size", self.batch_size, 2),
            ("--save-every", self.save_every, 1),
        ):
            if count is not None:
                checked_count(option, count, least=least)

    def _check_out(self, out: Path) -> None:
        from ..runs import Run

        if self.data and out.absolute() == self.data.absolute():
            raise DataError(
                "--out",
                got=f"the folder of the images, {out}",
                expected="another one",
                fix="What a run writes there would be taken for images.",
            )
        if out.exists() and not self.resume:
            Run(out).check_new()

    def _check_labels(self) -> None:
        if self.balanced and self.labelled is None:
            raise DataError(
                "--balanced",
                got="no number of labels",
                expected="--labelled N beside it",
                fix="Say how many labels there are.",
            )
        if self.plain_gan and self.labelled is not None:
            raise DataError(
                "--labelled",
                got="--plain-gan beside it, a game that feels no code",
                expected="one of both",
                fix="Leave one out.",
            )

    def _labels(self, experiment: "Experiment", dataset: Any) -> dict[str, Any] | None:
        from ..datasets import few_labels

        if self.labelled is None:
            return None
        chosen = {"balanced": self.balanced, "seed": self.seed}
        return {
            name: few_labels(values, self.labelled, **chosen)
            for name, values in experiment.observed(dataset).items()
        }


@dataclass(kw_only=True)
class Experiments(Command):
    """List the built-in experiments."""

    def __call__(self) -> None:
        """One line each: its name and its codes."""
        from ..models import built_in

        for name, experiment in built_in().items():
            wants = "" if experiment.data else "--data FOLDER; "
            print(f"{name:12} {wants}{experiment.steps} steps; {experiment.summary}")


def _experiment(reference: str) -> tuple[str, "Experiment", Path | None]:
    """Name, experiment and file of ``mnist``, ``my_codes.py`` or ``my_codes.py:name``."""
    from ..models import built_in, load_file

    known = built_in()
    if reference in known:
        return reference, known[reference], None
    # A folder's name may have a colon too.
    head, named, name = reference.rpartition(".py:")
    path = f"{head}.py" if named else reference
    if not path.endswith(".py"):
        raise DeclarationError(
            "experiment",
            got=repr(reference),
            expected=f"one of {', '.join(known)}, or a Python file",
            fix="See pyro-infogan experiments.",
        )
    experiment, name = load_file(Path(path), name if named else None)
    return name, experiment, Path(path)
