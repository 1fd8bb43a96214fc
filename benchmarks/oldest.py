"""The lower bounds of pyproject.toml as constraints for pip, a line each."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
for requirement in project["dependencies"]:
    name, _, bound = requirement.partition(">=")
    # The newest patch of the oldest minor version: the first ones may lack wheels for this Python.
    print(f"{name}~={bound}.0" if bound.count(".") == 1 else f"{name}=={bound}")
