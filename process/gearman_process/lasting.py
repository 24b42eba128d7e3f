"""Objects that last as long as the program: what it imports at its start."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def all_lasts() -> Iterator[None]:
    """What is made meanwhile is no garbage: the collector neither runs nor looks at it later.

    While a program imports it makes objects only, and the collector, which runs because of their number, looks through
    more and more of them: a seventh of the manager's start (measured). Afterwards each of its full runs would stop the
    event loop for as long as it takes to look at all of them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
