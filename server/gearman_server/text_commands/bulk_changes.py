"""Changes that an administrator orders for very many jobs, and looks at them, made a few at a time, so that nobody else
waits. Pure.

The answer leaves once all are made; until then no later request of the connection is carried out. A look ends when
nobody waits for it any more; a change goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.jobs.agenda import STEP
from gearman_server.text_commands.arguments import CommandError
from gearman_server.text_commands.walk import LOOKS, Walk

if TYPE_CHECKING:
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.durability import Durability
    from gearman_server.jobs.session import Session
    from gearman_server.options.text_search import TextSearch

#: Searches for a text that may be under way at once: together they may read many gigabytes, and each has a list of all
#: handles.
MAX_SEARCHES: Final = 8
#: The answer to a further one.
TOO_MANY_SEARCHES: Final = CommandError(b"TRY_AGAIN", b"%d searches for a text are under way" % MAX_SEARCHES)


class LongChanges:
    """Carries out changes and looks that may be long."""

    def __init__(self, agenda: Agenda, touched: set[Session], durability: Durability) -> None:
        self._agenda = agenda
        self._chores = agenda.chores
        self._touched = touched
        self._searches = 0
        #: Tells whether the peer of an open connection reads no further answer. Nothing is read from it meanwhile, so
        #: its end is not seen by itself. The owner of the sockets sets a better one.
        self.peer_has_left: Callable[[Session], bool] = _never
        #: For the answer to a change: empty if it follows once the change is written.
        self.once_written = durability.once_written

    def has_left(self, session: Session) -> bool:
        """Whether nobody reads a further answer."""
        return session.is_closed or self.peer_has_left(session)

    def start(
        self, session: Session, steps: Iterator[None], answer: Callable[[], bytes], *, is_change: bool = True
    ) -> bytes:
        """Make a change, or just look at jobs, in steps. `answer` is called after the last one, unless it is about a
        look and nobody waits for it any more.

        Returns the answer, empty if it follows later.
        """
        answers: list[bytes] = []

        def to_the_end() -> Iterator[None]:
            session.hold()
            try:
                yield from steps
            finally:
                session.unhold()
            if is_change or not self.has_left(session):
                answers.append(answer())

        def to_the_answer() -> Iterator[None]:
            yield from to_the_end()
            if not is_late or answers == [b""]:
                return
            for text in answers:
                session.reply(text)
            self._touched.add(session)  # also without an answer: it goes on with what came behind the request

        is_late = False
        self._chores.start(to_the_answer())
        is_late = not answers
        return answers[0] if answers else b""

    def start_walk(
        self,
        session: Session,
        walk: Walk,
        look: Callable[[bytes], object],
        answer: Callable[[], bytes],
        *,
        is_change: bool = False,
    ) -> bytes:
        """Call `look` with each handle of the walk, and `answer` after the last. Without a change both end with the
        connection.

        Returns the answer, empty if it follows later.

        Raises:
            CommandError: there are many searches for a text already.
        """
        is_search = walk.search is not None
        if is_search and self._searches >= MAX_SEARCHES:
            raise TOO_MANY_SEARCHES

        def steps() -> Iterator[None]:
            self._searches += is_search
            try:
                for _ in walk.steps(look, self._agenda.unix_time, STEP if is_change else LOOKS):
                    yield
                    if (not is_change and self.has_left(session)) or (self._chores.are_last and is_search):
                        walk.stop()
            finally:
                self._searches -= is_search

        return self.start(session, steps(), answer, is_change=is_change)

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

        Raises:
            CommandError: there are many searches for a text already.
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

        return self.start_walk(session, Walk(handles, search), look, answer, is_change=tell is None)


def _never(_session: Session) -> bool:
    return False
