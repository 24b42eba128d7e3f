"""Takes workers out of service at their job servers: no further job for them, or their jobs back into the queues.

Only a gearman-server knows the commands. Another server, or one that does not answer, is passed over: its answer is
missing from the result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

import gevent

from gearman_client import Address, AdminClient, AdminError, GearmanError
from gearman_manager.job_servers.connection import connect_to

#: For one answer of a server, and for all of them together.
_ANSWER_S: Final = 1.0
_ALL_S: Final = 2.0

#: The names of workers, by job server: client ids, or addresses of their connections.
Workers = Mapping[Address, Collection[str]]
#: The servers' numbers for the workers that they know, by server and name.
Answers = dict[Address, dict[str, int]]


def drain_workers(workers: Workers) -> Answers:
    """Have these workers given no further job. Returns the numbers of jobs that they have."""
    return _ask_all(AdminClient.drain_worker, workers)


def return_jobs(workers: Workers) -> Answers:
    """Have the jobs of these workers put back into their queues too. Returns the numbers of jobs."""
    return _ask_all(AdminClient.return_worker, workers)


def _ask_all(ask: Callable[[AdminClient, str], int], workers: Workers) -> Answers:
    answers: Answers = {server: {} for server in workers}
    asking = [gevent.spawn(_ask, ask, server, names, answers[server]) for server, names in workers.items()]
    gevent.joinall(asking, timeout=_ALL_S)
    gevent.killall(asking)
    return answers


def _ask(
    ask: Callable[[AdminClient, str], int], server: Address, names: Collection[str], answers: dict[str, int]
) -> None:
    try:
        with AdminClient(connect_to(server, _ANSWER_S), timeout_s=_ANSWER_S) as admin:
            for name in names:
                try:
                    answers[name] = ask(admin, name)
                except AdminError as refusal:
                    if refusal.code == "UNKNOWN_COMMAND":
                        return
    except (OSError, GearmanError):
        return  # it is gone or stalled: what it holds for its workers ends with their connections
