"""Checks of the values that callers give: a wrong one gets a text that names it and a right one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import nan
from typing import Any, Final

from gearman_client.errors import ArgumentError

#: A number of seconds, or a timedelta, or a text such as `5m`.
Duration = timedelta | float | str

_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

#: The longest wait for a server, because the kernel's numbers have an end.
MAX_LIMIT_S: Final = 365 * 86400.0


def to_seconds(value: Any, what: str) -> float:
    """A time, given as a number of seconds or as a timedelta; it may be infinite.

    Raises:
        ArgumentError: it is neither; `what` names it.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    # Of all other types only numbers have __float__, those of decimal and numpy too.
    is_number = hasattr(value, "__float__") and not isinstance(value, bool)
    try:
        seconds = float(value) if is_number else nan
    except (OverflowError, TypeError):
        seconds = nan
    if seconds != seconds:
        raise ArgumentError(f"{what} {value!r}: expected seconds (a number) or a timedelta")
    return seconds


def to_duration_s(value: Any, what: str) -> float:
    """A duration in seconds; as text it has a unit.

    Raises:
        ArgumentError: it is none; `what` names it.
    """
    if not isinstance(value, str):
        return to_seconds(value, what)
    match = _DURATION.fullmatch(value)
    if match is None:
        raise ArgumentError(f"{what} {value!r}: expected seconds (a number), a timedelta, or a text as 500ms, 30s, 5m")
    return float(match[1]) * _UNITS[match[2]]


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


#: The one name of this form that is no callback: it names a function for the server to submit.
_OPTION_OF_A_JOB: Final = "on_failure"


def check_options(
    caller: str, given: Mapping[str, object], known: Mapping[str, object], others: Iterable[str] = ()
) -> None:
    """Check the names of a call's further keyword arguments, and that those called `on_…` can be called.

    known: the names that `given` may hold.
    others: the names of the caller's other arguments.

    Raises:
        TypeError: an unknown name, as from any Python function.
        ArgumentError: a callback that can't be called.
    """
    for name, value in given.items():
        if name not in known:
            raise TypeError(_unexpected(caller, name, [*others, *known]))
        if name.startswith("on_") and name != _OPTION_OF_A_JOB and value is not None and not callable(value):
            raise ArgumentError(f"{name} {value!r}: expected a function")


def _unexpected(caller: str, name: str, allowed: list[str]) -> str:
    from difflib import get_close_matches  # here, because no correct program needs it

    meant = get_close_matches(name, allowed, 1)
    hint = f" (did you mean {meant[0]}?)" if meant else ""
    return f"{caller}() got an unexpected keyword argument {name!r}{hint}; it takes {', '.join(allowed)}"
