"""Waits for the results of jobs that other servers have: their owners tell of them as they go, over the links. Pure.

This server waits at the owner, as a client does, and hands on what comes. That begins again where the link was lost or
the job was adopted; where there is no link, the looks of `shared_results` find the end, and nothing is heard before.
A session that joins while others wait hears of the progress from then on, and of data and warnings at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gearman_client.extensions import GET_RESULT, RESULT
from gearman_client.packet import PacketType, encode_request, encode_response

if TYPE_CHECKING:
    from gearman_server.jobs.result_keeping import ResultKeeping
    from gearman_server.jobs.session import Session

#: Jobs of others that are followed at once: no more waits than that are let in from a peer.
MOST_FOLLOWED: Final = 10_000
_STATUS: Final = int(PacketType.WORK_STATUS)
#: States in the owner's answer that say nothing of the job: it has it no longer.
_UNKNOWN: Final = (b"unknown", b"expired")


class WatchingLinks(Protocol):
    """Connections to the other servers."""

    def watch(self, owner: int, request: bytes) -> bool:
        """Send a request whose answers are told as they come. False: there is no connection to that server."""


class _Followed:
    """A job of another server."""

    __slots__ = ("live", "owner", "status")

    def __init__(self, owner: int, live: set[Session]) -> None:
        self.owner = owner
        #: The sessions that have waited from the start, and so have got all data.
        self.live = live
        #: The last WORK_STATUS.
        self.status = b""


class LiveWaits:
    """Those of this server."""

    def __init__(self, results: ResultKeeping, links: WatchingLinks) -> None:
        self._results = results
        self._links = links
        self._followed: dict[bytes, _Followed] = {}

    def follow(self, handle: bytes, owner: int) -> None:
        """Have the owner tell of this job, for which sessions wait, unless it does so already."""
        if handle in self._followed or len(self._followed) >= MOST_FOLLOWED:
            return
        if self._links.watch(owner, encode_request(GET_RESULT, handle, b"")):
            self._followed[handle] = _Followed(owner, set(self._results.waits.sessions(handle)))

    def join(self, session: Session, handle: bytes) -> None:
        """One more session waits: tell it how far the job is."""
        followed = self._followed.get(handle)
        if followed is not None and followed.status:
            session.reply(followed.status)

    def lost(self, owner: int) -> None:
        """There is no connection to that server any more."""
        self._followed = {handle: each for handle, each in self._followed.items() if each.owner != owner}

    def heard(self, packet_type: int, body: bytes) -> None:
        """A packet about a job has come from its owner."""
        handle = body.partition(b"\0")[0]
        followed = self._followed.get(handle)
        if followed is None:
            return
        packet = encode_response(packet_type, body)
        if packet_type == RESULT:
            del self._followed[handle]
            self._end(handle, followed, body.split(b"\0", 2)[1], packet)
            return
        waiting = self._results.waits.sessions(handle)
        if packet_type == _STATUS:
            followed.status = packet
            self._results.states_elsewhere[handle] = b"running"
        else:
            waiting = [session for session in waiting if session in followed.live]
        self._tell(waiting, packet)

    def _end(self, handle: bytes, followed: _Followed, state: bytes, packet: bytes) -> None:
        """Answer those that have got all data. The next look finds the result for the others."""
        if state == b"not-kept":
            self._results.end_waits(handle, packet)
        elif state not in _UNKNOWN:
            self._tell(self._results.waits.end_for(handle, followed.live), packet)

    def _tell(self, sessions: list[Session], packet: bytes) -> None:
        for session in sessions:
            session.reply(packet)
        self._results.touched.update(sessions)
