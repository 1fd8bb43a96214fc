"""onnxruntime-web, which runs graphs in a browser: fetched from npm once, and kept.

It is no part of the package, which its WebAssembly would make a third larger, nor of the
repository, which would keep every version of it. What is kept is npm's own archive, so that a copy
from elsewhere does as well, and its checksum is the one that npm publishes.
"""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ..datasets import home
from ..errors import RunError
from ..runs import replace

__all__ = ["VERSION", "archive", "runtime"]

VERSION = "1.30.0"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_PATIENCE = 600
"""Seconds."""


def archive() -> Path:
    """Where npm's archive is kept."""
    return home() / f"onnxruntime-web-{VERSION}.tgz"


def runtime() -> dict[str, bytes]:
    """The three files of onnxruntime-web that a page needs on one thread, by name.

    Raises:
        RunError: where they are not kept yet, and npm is missing or cannot fetch them.
    """
    kept = archive()
    if not _whole(kept):
        _fetch(kept)
    with tarfile.open(kept) as tar:
        found = {name: tar.extractfile(f"package/dist/{name}") for name in _FILES}
        return {name: file.read() for name, file in found.items() if file}


def _whole(path: Path) -> bool:
    """Whether the archive is there, and is the one that was published."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").digest() == base64.b64decode(_SHA512)


def _fetch(path: Path) -> None:
    """Have npm fetch the archive, and keep it if it is the one that was published."""
    npm = shutil.which("npm")
    if npm is None:
        raise _missing(path, "no npm here")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"onnxruntime-web@{VERSION}", "--pack-destination", folder]
        try:
            subprocess.run(
                [*command, "--ignore-scripts"],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
            )
        except subprocess.CalledProcessError as error:
            raise _missing(path, f"npm failed: {_said(error.stderr)}") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _missing(path, f"npm failed: {error}") from error
        fetched = Path(folder) / path.name
        if not _whole(fetched):
            raise _missing(path, "another archive than the one that was published")
        with fetched.open("rb") as file:
            replace(path, lambda kept: shutil.copyfileobj(file, kept))


def _said(text: str) -> str:
    """The first line in which npm names an error."""
    lines = [line.removeprefix("npm error ") for line in text.splitlines() if "npm error" in line]
    return lines[0] if lines else "without a word"


def _missing(path: Path, got: str) -> RunError:
    return RunError(
        f"onnxruntime-web {VERSION}, which a web page needs",
        got=got,
        expected="npm with a way to its registry, once",
        fix="Install Node.js, which brings npm, and try again; or run `npm pack "
        f"onnxruntime-web@{VERSION}` where there is a network and put the file at {path}.",
    )
