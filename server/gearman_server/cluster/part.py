"""What a broker adds for a server that shares its store: the members, and the durable jobs that come and go. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gearman_server.cluster.adoption import Adoption
from gearman_server.cluster.ceded_jobs import CededJobs
from gearman_server.cluster.comparison import Comparison
from gearman_server.cluster.durable_jobs import DurableJobs
from gearman_server.cluster.elsewhere import Elsewhere
from gearman_server.cluster.limits import Limits
from gearman_server.cluster.members import MemberState
from gearman_server.cluster.peers import read_facts

if TYPE_CHECKING:
    from gearman_server.cluster.elsewhere import Directory, Links
    from gearman_server.cluster.members import Member
    from gearman_server.cluster.peers import Peers
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.wake_up import WakeUp
    from gearman_server.orphans.doubts import Doubts
    from gearman_server.requests.departures import Departures
    from gearman_server.requests.pauses import Pauses
    from gearman_server.requests.queries import Queries
    from gearman_server.requests.restoring import Restoring
    from gearman_server.requests.stops import Stops
    from gearman_server.requests.submissions import Handler


class Requests(NamedTuple):
    """Those who carry out requests, as far as other servers concern them."""

    handlers: dict[int, Handler]
    queries: Queries
    stops: Stops
    pauses: Pauses
    departures: Departures


class Part:
    """This server's part in the cluster."""

    def __init__(
        self,
        life: JobLife,
        wake_up: WakeUp,
        restoring: Restoring,
        doubts: Doubts,
        requests: Requests,
    ) -> None:
        self.ceded_jobs = CededJobs(life, doubts.orphans, requests.handlers, requests.departures)
        self.durable_jobs = DurableJobs(restoring.functions, life, wake_up, self.ceded_jobs.cede)
        self.adoption = Adoption(restoring, life, doubts, self.ceded_jobs.forget)
        #: All servers of the cluster, this one too, as they were at the last beat.
        self.members: Sequence[Member] = ()
        #: Whether it is the oldest of those that live: it tells of what all have, so that a sum over them is right.
        self.is_oldest = False
        self.comparison = Comparison(life)
        self.limits = Limits(restoring.functions, wake_up)
        self._touched = life.touched
        self._agenda = life.agenda
        self._requests = requests
        #: What each told last, as it came and read.
        self._told: dict[int, tuple[bytes, Mapping[str, Any]]] = {}
        #: How many of the functions' pauses this server has changed, and what the others said of that last.
        self._pauses_changed = 0
        self._pauses_told: dict[int, int] = {}

    def facts(self, word: str) -> Mapping[str, Any]:
        """What this server tells the others."""
        return {"word": word, "pauses": self._pauses_changed, "limits": self.limits.publish(self._agenda.now)}

    def follow(self, members: Sequence[Member], own_id: int) -> bool:
        """Follow what all have told. Returns whether the pauses of functions are to be read from the store."""
        self.members = members
        self.is_oldest = own_id == min((each.id for each in members if each.state is MemberState.ALIVE), default=0)
        former = self._told
        self._told = {
            member.id: former[member.id]
            if member.id in former and former[member.id][0] == member.facts  # nearly always
            else (member.facts, read_facts(member.facts))
            for member in members
        }
        told = {number: read for number, (_, read) in self._told.items()}
        self.limits.follow(told, own_id, self._agenda.now)
        before, self._pauses_told = self._pauses_told, {id_: facts.get("pauses", 0) for id_, facts in told.items()}
        return before != self._pauses_told

    def note_pauses_written(self) -> None:
        """The others have to read the pauses of functions anew."""
        self._pauses_changed += 1

    def follow_pauses(self, pauses: Mapping[bytes, float], read_at: float) -> None:
        """The functions that are paused in the whole cluster, as they were read at that time."""
        self._requests.pauses.follow(pauses, read_at)

    def meet(self, peers: Peers, directory: Directory, links: Links) -> None:
        """Know the other servers, and ask them for jobs that are not here."""
        elsewhere = Elsewhere(directory, links, self._touched)
        self.ceded_jobs.tell = links.tell_all
        self._requests.handlers.update(peers.handlers())
        self._requests.queries.elsewhere = elsewhere.status
        self._requests.stops.elsewhere = elsewhere
