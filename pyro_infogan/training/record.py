"""What ``run.json`` says of a run, and whether a folder's run is the one about to start."""

import importlib.metadata
import json
import platform
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..descriptions import matches, setting
from ..errors import RunError
from ..inference import Labels, Objective, Rates
from ..infogan import InfoGAN
from ..runs import Run

__all__ = ["claim", "settings_of", "versions"]

_SUMMED = 10_000


def settings_of(
    images: Tensor,
    observed: Mapping[str, Labels],
    batch_size: int,
    seed: int,
    objective: Objective,
    rates: Rates,
    experiment: str | None,
    processes: int,
) -> dict[str, Any]:
    """What makes one run another, with the declaration; all but the number of steps."""
    settings = {
        "experiment": experiment,
        "images": [*images.shape, str(images.dtype), _checksum(images)],
        "batch_size": batch_size,
        "seed": seed,
        "objective": setting(objective),
        "rates": setting(rates),
    }
    if observed:
        # In whatever order they came.
        settings["labels"] = {name: _labels(observed[name]) for name in sorted(observed)}
    if processes > 1:
        settings["processes"] = processes
    return settings


def _checksum(images: Tensor) -> str:
    """CRC-32 of at most 10,000 images, evenly spaced, to tell one set from another.

    All of a set that is mapped from a file would be brought into memory.
    """
    crc = 0
    for image in images[:: -(-len(images) // _SUMMED)]:
        crc = zlib.crc32(image.contiguous().cpu().numpy().data, crc)
    return f"{crc:08x}"


def _labels(labels: Labels) -> list[Any]:
    """How many labels there are, and their checksum with their places."""
    known = labels.known.nonzero().squeeze(-1)
    parts = (known, labels.values[known].double())
    crc = 0
    for each in parts:
        crc = zlib.crc32(each.cpu().contiguous().numpy().data, crc)
    return [len(known), f"{crc:08x}"]


def versions(device: torch.device) -> dict[str, Any]:
    """The command, what it ran with, and on what."""
    return {
        "command": sys.argv,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("pyro-infogan", "torch", "pyro-ppl", "numpy")
        },
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        if device.type == "cpu"
        else torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else str(device),
    }


def claim(run: Run, gan: InfoGAN, settings: Mapping[str, Any], resume: bool) -> None:
    """Refuse a folder whose run is not the one about to start."""
    record = run.record()
    if record is None:
        if run.checkpoints() or run.metrics_file.exists():
            raise RunError(
                f"run folder {run}",
                got="checkpoints or metrics without a run.json",
                expected="a new folder, or a whole run",
                fix="Choose another folder with --out (out=).",
            )
        return
    same = _jsonable({"declaration": gan.declaration(), "settings": dict(settings)})
    for key, asked in same.items():
        if not matches(record.get(key), asked):
            there, here = _differing(record.get(key), asked)
            if key == "settings" and isinstance(here, Mapping) and list(here) == ["images"]:
                raise RunError(
                    f"run folder {run}",
                    got=f"a run of other images {there['images']}",
                    expected=f"one of those that are there now {here['images']}",
                    fix="Images were added, removed or changed since: bring the old ones back, or "
                    "choose another folder with --out (out=).",
                )
            raise RunError(
                f"run folder {run}",
                got=f"a run with {key} {there}",
                expected=f"none, or one with {key} {here}",
                fix="Choose another folder with --out (out=).",
            )
    if not resume:
        run.check_new()


def _differing(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values that do not match, of dictionaries no more than what does not."""
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one, other
    pairs = {
        key: _differing(one.get(key), other.get(key))
        for key in {**one, **other}
        if not matches(one.get(key), other.get(key))
    }
    # Dictionaries of the same items in another order do not match either.
    if not pairs:
        return list(one), list(other)
    return {key: pair[0] for key, pair in pairs.items()}, {
        key: pair[1] for key, pair in pairs.items()
    }


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value))
