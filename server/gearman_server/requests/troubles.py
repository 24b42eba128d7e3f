"""What keeps the server from doing all of its work, and the extension `server-troubles`, which tells of it. Pure.

The store's troubles come as events; the edge reports its own. Their texts are sentences for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import SERVER_TROUBLE
from gearman_client.packet import encode_response
from gearman_server.jobs.events import Event, EventStream, StoreFailed, StoreRecovered

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session

_STORE: Final = "store"


class Troubles:
    """The troubles that last, at most one of each source, and the connections that are told when they change."""

    def __init__(self, touched: set[Session], events: EventStream) -> None:
        self._touched = touched
        self._subscribers: set[Session] = set()
        self._by_source: dict[str, str] = {}
        events.subscribe(self._note_store, StoreFailed, StoreRecovered)

    @property
    def text(self) -> str | None:
        """All troubles in one line; None if there is none."""
        return "; ".join(self._by_source.values()) or None

    def note(self, source: str, text: str | None) -> None:
        """Note the trouble of a source, or with None its end."""
        before = self.text
        if text is None:
            self._by_source.pop(source, None)
        else:
            self._by_source[source] = text
        if self.text != before:
            for session in self._subscribers:
                session.reply(self._packet())
            self._touched.update(self._subscribers)

    def subscribe(self, session: Session) -> None:
        """Tell the session of the present troubles now, and of every change from now on."""
        self._subscribers.add(session)
        session.reply(self._packet())

    def unsubscribe(self, session: Session) -> None:
        """Forget a session that is gone."""
        self._subscribers.discard(session)

    def _note_store(self, event: Event) -> None:
        self.note(_STORE, f"{event.reason}; background jobs are refused" if isinstance(event, StoreFailed) else None)

    def _packet(self) -> bytes:
        return encode_response(SERVER_TROUBLE, (self.text or "").encode(errors="backslashreplace"))
