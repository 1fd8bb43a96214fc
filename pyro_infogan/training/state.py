"""What a checkpoint holds beside the networks, so that a run goes on as if it had not stopped."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import RunError, checked_count, in_short
from ..inference import Step
from ..infogan import InfoGAN
from ..runs import Run, part
from .metrics import LOG_EVERY, Log

__all__ = ["restore", "save"]


def save(run: Run | None, gan: InfoGAN, step: Step, log: Log, done: int) -> str:
    """Write everything that a resumed run needs to go on as if it had not stopped."""
    random = {"cpu": torch.get_rng_state()}
    if gan.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(gan.device)
    sums = {name: total.cpu() for name, total in log.sums.items()}
    own = {"random": random, "log": {"sums": sums, "counts": log.counts}}
    others = log.group.kept(gan, own)
    with log.group.averaged_buffers(gan):
        optimisers = {name: opt.state_dict() for name, opt in step.optimisers.items()}
        contents = {**gan.contents(), "optimisers": optimisers, **own, **others}
        return log.group.from_first(lambda: str(cast(Run, run).save(done, contents)))


def _newest(run: Run) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint, where there is any."""
    if run.checkpoints():
        return run.newest()
    run.forget_after(0)
    return None


def restore(run: Run | None, gan: InfoGAN, step: Step, log: Log, steps: int) -> int:
    """Take up the newest good checkpoint, to go on to ``steps``; the step it was saved after."""
    # The first process alone has a run, and reads for all.
    found = log.group.from_first(lambda: _newest(cast(Run, run)))
    if found is None:
        return 0
    path, contents = found
    gan.adopt(contents, path)
    try:
        done = _adopt_state(contents, path, gan, step, log)
    except RunError:
        raise
    except Exception as error:  # a file of another make leads to a dozen types
        raise RunError(
            f"checkpoint {path}",
            got=in_short(error),
            expected="the state of this training",
            fix="It may come from another version; move it away, and go on from the one before.",
        ) from error
    # A run that ended between two lines closed with a short one, which now gets its full length.
    if run:
        run.forget_after(done - done % LOG_EVERY if done < steps else done)
    log.lines = log.group.from_first(lambda: list(cast(Run, run).metrics()))
    return done


def _adopt_state(
    contents: Mapping[str, Any], path: Path, gan: InfoGAN, step: Step, log: Log
) -> int:
    """Take up all but the weights; the step that the checkpoint was saved after."""
    device = gan.device
    saved = part(contents, "optimisers", path)
    for name, optimiser in step.optimisers.items():
        _check_moments(saved[name], step.players[name])
        # Copies, since what was read is mapped from a file that will be removed.
        optimiser.load_state_dict(copy.deepcopy(saved[name]))
    own = log.group.taken(gan, contents)
    kept = part(own, "log", path)
    log.sums = {name: total.clone().to(device) for name, total in kept["sums"].items()}
    log.counts = dict(kept["counts"])
    random = part(own, "random", path)
    torch.set_rng_state(random["cpu"].clone())
    if device.type == "cuda" and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"].clone(), device)
    return checked_count("step", part(contents, "step", path), least=1, error=RunError)


def _check_moments(saved: Mapping[str, Any], weights: list[torch.nn.Parameter]) -> None:
    """Refuse an optimiser's state of other weights, before any of it is copied."""
    for index, state in saved["state"].items():
        for name, value in state.items():
            if value.shape not in ((), weights[index].shape):
                raise RunError(
                    f"optimiser, {name} of weight {index}",
                    got=f"shape {tuple(value.shape)}",
                    expected=f"{tuple(weights[index].shape)}",
                    fix="The file may come from another version; go on from the one before.",
                )
