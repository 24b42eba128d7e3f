"""Tells clients, workers and managers which servers there are: who knows one, gets to know the others. Pure.

The text command `servers` and the extension of that name speak of the same rows. A server without a cluster has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gearman_client.extensions import SERVERS
from gearman_client.packet import encode_response
from gearman_server.cluster.members import Member, MemberState
from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session


class Discovery:
    """The servers of the cluster, and the connections that are told when they change."""

    def __init__(self, name: str, address: str, version: str, touched: set[Session]) -> None:
        self._touched = touched
        self._subscribers: set[Session] = set()
        #: The id and the members of which the rows were made.
        self._shown: tuple[int, list[Any]] = 0, []
        self._rows = _row(Member(0, name, address, version, MemberState.ALIVE, None, b""), is_this=True)

    def note(self, members: Sequence[Member], own_id: int) -> None:
        """Note the servers of the cluster, and tell the subscribers if one has come, gone or died."""
        shown = own_id, [member[:5] for member in members]  # all but the beats
        if shown == self._shown:  # nearly always: it is called with each beat
            return
        self._shown = shown
        rows = b"".join(_row(member, is_this=member.id == own_id) for member in members)
        if rows != self._rows:
            self._rows = rows
            packet = self._packet()
            for session in self._subscribers:
                session.reply(packet)
            self._touched.update(self._subscribers)

    def subscribe(self, session: Session) -> None:
        """Tell the session of the servers now, and of every change from now on."""
        self._subscribers.add(session)
        session.reply(self._packet())

    def unsubscribe(self, session: Session) -> None:
        """Forget a session that is gone."""
        self._subscribers.discard(session)

    def execute(self, _session: Session, _words: list[bytes]) -> bytes:
        """The answer to the text command `servers`."""
        return self._rows + b".\n"

    def _packet(self) -> bytes:
        return encode_response(SERVERS, self._rows)


def _row(member: Member, *, is_this: bool) -> bytes:
    texts = member.name, member.address, member.version, member.state.name.lower()
    columns = b"\t".join(printable(text.encode(errors="surrogateescape")) for text in texts)
    return b"%d\t%s\t%d\n" % (member.id, columns, is_this)
