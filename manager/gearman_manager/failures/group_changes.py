"""What an operator does to a group: mutes it, or has its dead letters retried or dropped, those that were there when
somebody looked, some at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from gearman_client import AdminClient
from gearman_manager.access.guards import acting_caller
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import BulkChange
from gearman_manager.control.server_access import CHANGE_TIMEOUT_S, ServerAccess, affected, parts_of
from gearman_manager.control.turns import Turns
from gearman_manager.errors import ManagerError
from gearman_manager.failures.groups import FailureGroups, in_words
from gearman_manager.history.recording import say_action, utc


class GroupChanges:
    """Makes such changes, on behalf of the request that is carried out just now."""

    def __init__(self, groups: FailureGroups, servers: ServerAccess, every: AllThatMatch) -> None:
        self._groups = groups
        self._servers = servers
        self._every = every

    def mute(self, name: str, until: float | None) -> float | None:
        """Mute a group until then (Unix seconds; infinity: until it is unmuted), or None: no longer. Returns the moment
        at which a mute ends, None if there is none.

        Raises:
            NotFound: there is no such group.
            HistoryError: it can't be read or written.
        """
        group = self._groups.show(name, 0)
        bounded = until if until is not None and until < math.inf else None
        what = "failures unmute" if until is None else "failures mute"
        say_action(what, in_words(group), "" if bounded is None else f"until {utc(bounded)}")
        self._groups.mute(name, until, acting_caller().who)
        return bounded

    def begin(self, what: str, name: str, mark: int | None, expected: int | None) -> BulkChange:
        """Begin to `retry` or `drop` the dead letters of a group: those that were known at the mark; None: now.
        `expected` is how many there were; None: as many as known.

        Raises:
            NotFound: there is no such group.
            ManagerError: the letters can't be read, or the change has to wait.
        """
        group = self._groups.show(name, 0)
        letters = self._groups.letters(name, group["mark"] if mark is None else mark)
        target = f"failures of {in_words(group)}"
        expected = len(letters) if expected is None else expected
        say_action(f"dead {what}", target, f"{expected:,} of a group")
        return self._every.start(BulkChange(f"dead {what}", target, expected), partial(self._change, what, letters))

    def _change(self, what: str, letters: Sequence[tuple[str, str]], change: BulkChange) -> None:
        for server, mine in self._by_server(letters).items():
            try:
                with self._servers.connected(server, CHANGE_TIMEOUT_S) as admin:
                    for part in parts_of(f"dead {what}", mine):
                        self._change_part(admin, what, part, change)
            except ManagerError as error:
                change.problems.append(str(error))

    def _change_part(self, admin: AdminClient, what: str, part: Sequence[str], change: BulkChange) -> None:
        changed = affected(admin.command(" ".join([f"dead {what}", *part])))
        left = [] if changed == len(part) else [handle for handle in part if _is_there(admin, handle)]
        change.done += changed
        change.left += len(left)
        self._groups.no_letters([handle for handle in part if handle not in left])

    def _by_server(self, letters: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
        """The handles of letters by the server that is asked for them: of the cluster of the one that told of the
        letter; each, if that one is none of ours any more. There can be very many."""
        asked = {str(address): str(cluster[0]) for cluster in self._servers.clusters() for address in cluster}
        handles: dict[str, list[str]] = {server: [] for server in asked.values()}
        turns = Turns()
        for handle, teller in letters:
            for server in [asked[teller]] if teller in asked else handles:
                handles[server].append(handle)
            turns.others()
        return handles


def _is_there(admin: AdminClient, handle: str) -> bool:
    return not admin.command(f"dead show {handle}").startswith(b"ERR UNKNOWN_JOB")
