"""Signals that ask training to stop, and what it says when it does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Stopped

__all__ = ["Stop", "farewell", "stopping"]


class Stop:
    """Whether a signal asked training to stop, and which."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Remember the first, and stop at once at the second."""
        del frame
        if self.signal:
            raise Stopped("Stopped at once, at the second signal, without saving.", number)
        self.signal = number


@contextmanager
def stopping() -> Iterator[Stop]:
    """Inside, signals to stop are remembered; only the main thread can be told of them."""
    stop = Stop()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # None stands for a handler that was not set from Python, and cannot be put back. In a
            # process that a shell started in the background Ctrl-C is ignored, and stays so.
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                previous[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def farewell(step: int, saved: str | None) -> str:
    """What is said after the last step."""
    if saved is None:
        return f"Stopped after step {step}; there is no run folder to go on from."
    return f"Stopped after step {step}, saved as {saved}; go on with --resume (resume=True)."
