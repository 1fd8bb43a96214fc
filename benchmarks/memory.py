"""How much memory training takes on a set that is mapped from disk: 200,000 images of 3×64×64.

    python benchmarks/memory.py memory

writes 2.5 GB of random bytes there once, and trains on them in a process of its own.
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHAPE = (200_000, 3, 64, 64)
CHUNK = 1_000


def write(writer) -> None:
    """Random bytes, some images at a time."""
    images = writer.array("images", SHAPE, np.uint8)
    random = np.random.default_rng(0)
    for start in range(0, len(images), CHUNK):
        images[start : start + CHUNK] = random.integers(0, 256, (CHUNK, *SHAPE[1:]), np.uint8)


def resident() -> str:
    """Memory of this process, now and at its peak, in MB of 10⁶ bytes."""
    lines = Path("/proc/self/status").read_text()
    kib = {name: int(size) for name, size in re.findall(r"(\w+):\s+(\d+) kB", lines)}
    return " ".join(
        f"{name} {kib[name] * 1024 / 1e6:,.0f}" for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")
    )


def train(folder: Path, steps: int, batch_size: int) -> None:
    """Train on the set, and say what was resident before and after."""
    import pyro.distributions as dist
    import torch

    from pyro_infogan import InfoGAN, datasets
    from pyro_infogan import train as run

    print(f"imported      {resident()}", flush=True)
    images = datasets.cached(folder / "random", {"shape": SHAPE}, write)["images"]
    print(f"mapped        {resident()}", flush=True)
    gan = InfoGAN({"kind": dist.Categorical(torch.ones(10))}, image_shape=SHAPE[1:])
    start = time.perf_counter()
    run(gan, torch.from_numpy(images), steps=steps, batch_size=batch_size, progress=False)
    print(f"trained       {resident()}")
    print(f"{steps} steps of {batch_size} images in {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Write the set where it is not there yet, and train on it in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the set is kept")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        train(asked.folder, asked.steps, asked.batch_size)
        return
    from pyro_infogan import datasets

    # Here, since pages written count as resident too.
    datasets.cached(asked.folder / "random", {"shape": SHAPE}, write)
    subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child"], check=True)


if __name__ == "__main__":
    main()
