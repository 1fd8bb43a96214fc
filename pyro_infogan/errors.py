"""Errors that say what came, what was expected, and how to mend it.

Every error a user can cause is an :class:`InfoGANError`; anything else that escapes the library is
a defect of it.
"""

import math
import operator
from collections.abc import Collection, Iterable
from typing import Any, Self, overload

__all__ = [
    "DataError",
    "DeclarationError",
    "DivergenceError",
    "InfoGANError",
    "RunError",
    "Stopped",
    "TrainingWarning",
    "check_names",
    "checked_count",
    "in_short",
]


class InfoGANError(Exception):
    """Base of the library's errors.

    Args:
        what: what was being read, such as ``"code 'digit'"``; or, alone, the whole text, as pickle
            and Pyro's tracer build an error anew.
        got: what came.
        expected: what would have been accepted.
        fix: one sentence that says what to do.

    Example:
        >>> print(InfoGANError("batch_size", got=1, expected="at least 2", fix="Raise it."))
        batch_size: got 1, expected at least 2. Raise it.
    """

    @overload
    def __init__(self, what: str, *, got: object, expected: object, fix: str) -> None: ...

    @overload
    def __init__(self, what: str) -> None: ...

    def __init__(self, what: str, **said: object) -> None:
        text = "{what}: got {got}, expected {expected}. {fix}"
        super().__init__(text.format(what=what, **said) if said else what)

    def within(self, place: str) -> Self:
        """The same error, told as one inside ``place``."""
        self.args = (f"{place}, {self}",)
        return self


class DeclarationError(InfoGANError, ValueError):
    """A code prior, posterior, information weight, network or experiment that cannot be built."""


class DataError(InfoGANError, ValueError):
    """Images or codes that do not fit the declaration."""


class RunError(InfoGANError, RuntimeError):
    """A run folder, checkpoint or device that cannot be used."""


class DivergenceError(RunError):
    """A loss that stopped being finite; names the last good checkpoint."""


class Stopped(KeyboardInterrupt):
    """Training that a signal stopped, after its present step was finished and saved.

    Args:
        text: what was saved, and how to go on.
        signal: number of the signal.
    """

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text, signal)
        self.signal = signal

    def __str__(self) -> str:
        return self.args[0]


class TrainingWarning(UserWarning):
    """Training that goes on, but not as it should."""


def checked_count(
    what: str, value: Any, *, least: int, error: type[InfoGANError] = DataError
) -> int:
    """``value``, if it is a whole number of at least ``least``.

    Raises:
        InfoGANError: of the type ``error``, otherwise.
    """
    try:
        # numpy's whole numbers too.
        count = -math.inf if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = -math.inf
    if not isinstance(count, int) or count < least:
        raise error(
            what,
            got=repr(value),
            expected=f"a whole number, {least} or more",
            fix="Give one that is.",
        )
    return count


def check_names(
    what: str,
    names: Iterable[Any],
    known: Collection[Any],
    error: type[InfoGANError] = DeclarationError,
) -> None:
    """Refuse names, or tuples of names, that are not among the ``known``.

    Raises:
        InfoGANError: of the type ``error``, naming the unknown one and the known ones.
    """
    for name in names:
        if name not in known:
            raise error(
                what,
                got=repr(name),
                expected=f"names among {list(known)}",
                fix="Rename it, or declare the code.",
            )


def in_short(error: BaseException) -> str:
    r"""The type of an error of others, and the first line of what it says.

    Example:
        >>> in_short(ZeroDivisionError("of 1\nand 2"))
        'ZeroDivisionError: of 1'
    """
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
