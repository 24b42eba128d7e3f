"""Changes that an administrator orders for very many jobs, made a few at a time, so that nobody else waits. Pure.

The answer leaves once all are made; until then no later request of the connection is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from gearman_server.jobs.agenda import STEP
from gearman_server.text_commands.walk import LOOKS, Walk

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Chores
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.session import Session
    from gearman_server.options.text_search import TextSearch


class LongChanges:
    """Carries out changes that may be long."""

    def __init__(self, chores: Chores, touched: set[Session], durability: Durability) -> None:
        self._chores = chores
        self._touched = touched
        #: For the answer to a change: empty if it follows once the change is written.
        self.once_written = durability.once_written

    def start(self, session: Session, steps: Iterator[None], answer: Callable[[], bytes]) -> bytes:
        """Make a change in steps. `answer` is called after the last one.

        Returns the answer, empty if it follows later.
        """
        answers: list[bytes] = []

        def to_the_end() -> Iterator[None]:
            session.hold()
            try:
                yield from steps
            finally:
                session.unhold()
            answers.append(answer())

        def to_the_answer() -> Iterator[None]:
            yield from to_the_end()
            if is_late and answers[0]:
                session.reply(answers[0])
                self._touched.add(session)

        is_late = False
        self._chores.start(to_the_answer())
        is_late = not answers
        return answers[0] if answers else b""

    def start_each(
        self,
        session: Session,
        handles: Sequence[bytes],
        change: Callable[[bytes], bool],
        tell: Callable[[int], bytes] | None = None,
        search: TextSearch | None = None,
    ) -> bytes:
        """Call `change` with each handle; it returns whether there was something to change. The answer is their number,
        once the changes are written. With `tell`, which makes the answer of the number, nothing is changed. `search` is
        what reads the texts of the jobs, if anything does.

        Returns the answer, empty if it follows later.
        """
        changed = 0

        def look(handle: bytes) -> None:
            nonlocal changed
            changed += change(handle)

        def answer() -> bytes:
            if tell is not None:
                return tell(changed)
            number = b"OK %d\n" % changed
            return self.once_written(session, number) if changed else number

        steps = Walk(handles, search).steps(look, STEP if tell is None else LOOKS)
        return self.start(session, steps, answer)
