"""How `map` gives its results, of the blocking client and of the asynchronous one. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from gearman_client.arguments import to_count

#: How many workloads are taken ahead of the results, if the caller does not say.
WINDOW: Final = 200
MAX_WINDOW: Final = 1_000_000


class MapOrder(NamedTuple):
    """How `map` gives its results.

    window: the most workloads that are taken and whose results have not been given.
    as_completed: give results as they come, and not in the order of the workloads.
    return_exceptions: give the exception in the place of the result, and go on.
    """

    window: int = WINDOW
    as_completed: bool = False
    return_exceptions: bool = False


def map_order(window: int | None, as_completed: bool, return_exceptions: bool) -> MapOrder:
    """The order out of the arguments of `map`.

    Raises:
        ArgumentError: the window is no whole number, or out of its bounds.
    """
    size = WINDOW if window is None else to_count(window, "window", MAX_WINDOW)
    return MapOrder(size, bool(as_completed), bool(return_exceptions))
