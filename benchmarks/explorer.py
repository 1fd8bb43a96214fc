"""How long the explorer takes from a moved slider to the picture on the screen.

    python benchmarks/explorer.py runs/mnist

The first continuous code is moved, in Debian's Chromium without a window. Needs the extra `explore`
and playwright.
"""

import argparse
import asyncio
import queue
import statistics
import threading
import time
from pathlib import Path

import torch
from playwright.sync_api import Page, sync_playwright

from pyro_infogan import InfoGAN
from pyro_infogan.controls import Panel, Slider
from pyro_infogan.explorer.pictures import draw_noise, grid, single
from pyro_infogan.explorer.serving import listening, server

# From the move to the frame after the new picture is in the page and decoded.
MOVE = """([title, value]) => new Promise(done => {
  const image = document.querySelector('#picture img');
  const range = document.querySelector(`[id='code-${title}'] input[type=range]`);
  const begun = performance.now();
  new MutationObserver((_, observer) => {
    observer.disconnect();
    document.querySelector('#picture img').decode().then(
      () => requestAnimationFrame(() => done(performance.now() - begun)));
  }).observe(document.querySelector('#picture'),
             {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
  range.value = value;
  range.dispatchEvent(new Event('input', {bubbles: true}));
})"""


def said(what: str, milliseconds: list[float]) -> None:
    """Print median, 95th percentile and worst."""
    ordered = sorted(milliseconds)
    late = ordered[int(0.95 * (len(ordered) - 1))]
    print(
        f"{what:28} median {statistics.median(ordered):6.1f} ms   95 % {late:6.1f} ms"
        f"   worst {ordered[-1]:6.1f} ms"
    )


def timed(what: str, make, moves: int) -> None:
    """Print how long ``make`` takes in this process."""
    taken = []
    for _ in range(moves):
        begun = time.perf_counter()
        make()
        taken.append(1_000 * (time.perf_counter() - begun))
    said(what, taken)


def in_the_browser(page: Page, what: str, slider: Slider, moves: int) -> None:
    """Print how long moves of a slider take on the page."""
    places = torch.linspace(slider.low, slider.high, moves + 6)[1:-1].tolist()
    taken = [page.evaluate(MOVE, [slider.title, place]) for place in places]
    # The first few compile.
    said(what, taken[4:])


def main(run: Path, moves: int) -> None:
    """Time one run."""
    gan = InfoGAN.load(run)
    panel, noise = Panel(gan.prior), draw_noise(gan, 0)
    index, slider = next(
        (index, control)
        for index, control in enumerate(panel.controls)
        if type(control) is Slider and not control.whole
    )
    print(f"{run}, images {gan.image_shape}, {torch.get_num_threads()} threads")
    timed("one image, made and encoded", lambda: single(gan, panel, noise, panel.start), moves)
    timed("grid", lambda: grid(gan, panel, noise, panel.start, index, None), moves)
    started: queue.Queue = queue.Queue()
    with listening(0) as listener, sync_playwright() as playwright:

        async def serving() -> None:
            ready = server(gan, "benchmark")
            started.put(ready)
            await ready.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=[serving()])
        thread.start()
        ready = started.get()
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        page.wait_for_selector(f"[id='code-{slider.title}'] input[type=range]")
        in_the_browser(page, "one image, in the browser", slider, moves)
        page.click("#grid input")
        page.wait_for_selector("#picture .grid")
        in_the_browser(page, "grid, in the browser", slider, moves)
        browser.close()
        ready.should_exit = True
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--moves", type=int, default=50)
    arguments = parser.parse_args()
    main(arguments.run, arguments.moves)
