"""Checks of the values that callers give: a wrong one gets a text that names it and a right one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from gearman_client.errors import ArgumentError

#: The longest wait for a server, because the kernel's numbers have an end.
MAX_LIMIT_S: Final = 365 * 86400.0


def to_seconds(value: Any, what: str) -> float:
    """A time, given as a number of seconds or as a timedelta; it may be infinite.

    Raises:
        ArgumentError: it is neither; `what` names it.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    seconds = float("nan")
    # Of all other types only numbers have __float__, those of decimal and numpy too.
    if hasattr(value, "__float__") and not isinstance(value, bool):
        with suppress(OverflowError, TypeError):
            seconds = float(value)
    if seconds != seconds:
        raise ArgumentError(f"{what} {value!r}: expected seconds (a number) or a timedelta")
    return seconds


def to_optional_seconds(value: Any, what: str) -> float | None:
    """As `to_seconds`; None stays None."""
    return None if value is None else to_seconds(value, what)


def to_limit(value: Any, what: str) -> float:
    """As `to_seconds`, for the wait for a server. More than a year counts as a year.

    Raises:
        ArgumentError: it is no such time, or negative.
    """
    seconds = to_seconds(value, what)
    if seconds < 0:
        raise ArgumentError(f"{what} {value!r}: expected seconds from 0 up")
    return min(seconds, MAX_LIMIT_S)


def to_count(value: Any, what: str, most: int) -> int:
    """A whole number from 1 to `most`.

    Raises:
        ArgumentError: it is none; `what` names it.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ArgumentError(f"{what} {value!r}: expected a whole number from 1 to {most}")
    return value


def check_callbacks(caller: str, given: Mapping[str, object], callbacks: Iterable[str], others: Iterable[str]) -> None:
    """Check the callbacks among the keyword arguments of a call.

    callbacks: the names that `given` may hold.
    others: the names of the caller's other keyword arguments.

    Raises:
        TypeError: an unknown name, as from any Python function.
        ArgumentError: a callback that can't be called.
    """
    known = list(callbacks)
    for name, value in given.items():
        if name not in known:
            raise TypeError(_unexpected(caller, name, [*others, *known]))
        if value is not None and not callable(value):
            raise ArgumentError(f"{name} {value!r}: expected a function")


def _unexpected(caller: str, name: str, allowed: list[str]) -> str:
    from difflib import get_close_matches  # here, because no correct program needs it

    meant = get_close_matches(name, allowed, 1)
    hint = f" (did you mean {meant[0]}?)" if meant else ""
    return f"{caller}() got an unexpected keyword argument {name!r}{hint}; it takes {', '.join(allowed)}"
