"""A walk over very many jobs, by their handles, in steps that are short enough for everybody else. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.options.text_search import TextSearch

#: The number of jobs that one step looks at: half a millisecond of work, and a millisecond with a search for a text in
#: short workloads.
LOOKS: Final = 1000
#: What one step reads in long ones: a millisecond too.
STEP_BYTES: Final = 512 * 1024
#: A search takes longer where the begin of its text is found again and again; then its step ends by the clock.
STEP_S: Final = 0.001


class Walk:
    """One walk, over all of the handles or some."""

    def __init__(
        self, handles: Sequence[bytes], search: TextSearch | None, start: int = 0, most_looks: int | None = None
    ) -> None:
        """`search` is what reads the texts of the jobs, if anything does."""
        self._handles = handles
        #: What reads the texts of the jobs; None: nothing does.
        self.search = search
        self._end = len(handles) if most_looks is None else min(len(handles), start + most_looks)
        #: How many of all handles lie behind.
        self.position = start

    def steps(
        self, look: Callable[[bytes], object], clock: Callable[[], float], at_once: int = LOOKS
    ) -> Iterator[None]:
        """Call `look` with each handle, up to the end or until `stop` is called; at most so many in one step, and with
        a search no more once the clock (seconds) says that the step was long enough."""
        search = self.search
        while self.position < self._end:
            most_bytes, until = 0 if search is None else search.read_bytes + STEP_BYTES, clock() + STEP_S
            for handle in self._handles[self.position : min(self.position + at_once, self._end)]:
                self.position += 1
                look(handle)
                if self.position >= self._end:
                    break
                if search is not None and (search.read_bytes >= most_bytes or clock() >= until):
                    break
            if self.position < self._end:
                yield

    def stop(self) -> None:
        """Go no further."""
        self._end = self.position
