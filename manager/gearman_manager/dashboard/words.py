"""Numbers, sizes and times as pages show them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from markupsafe import Markup

#: A dash.
UNKNOWN: Final = "\u2013"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))


def counted(count: int, noun: str) -> str:
    """`1 worker`, `2,000 workers`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def size(count: float | None) -> str:
    """A number of bytes: `512 B`, `3.1 MB`; a dash if it is unknown."""
    if count is None:
        return UNKNOWN
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} GB" if amount < 999.5 else f"{amount:,.0f} GB"


def percent(share: float | None) -> str:
    """`23 %`; a dash if it is unknown."""
    return UNKNOWN if share is None else f"{share:.0%}".replace("%", " %")


def duration(seconds: float | None) -> str:
    """`0.3 s`, `12 s`, `5 min`, `3 h`, `2 d`; a dash if it is unknown."""
    if seconds is None:
        return UNKNOWN
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def moment(unix_s: float | None, style: str = "ago") -> Markup:
    """A moment. The script shows how long ago it was, or with the style `for` for how long it has been so, in the
    reader's zone on hover; without the script it is an exact time."""
    if unix_s is None:
        return Markup(UNKNOWN)
    try:
        exact = datetime.fromtimestamp(unix_s, UTC)
    except (OverflowError, ValueError, OSError):  # a client may ask for a year beyond the calendar's
        return Markup("%s (Unix seconds)") % f"{unix_s:.0f}"
    machine = exact.strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="%s" data-%s>%s</time>') % (machine, style, exact.strftime("%Y-%m-%d %H:%M:%S UTC"))
