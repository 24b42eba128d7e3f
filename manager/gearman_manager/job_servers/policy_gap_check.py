"""Asks job servers that this manager did not start whether the functions' keys hold there, for `check` and `status`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import gevent
import gevent.event

from gearman_client import Address, AdminClient, GearmanError
from gearman_manager.config import Layout
from gearman_manager.job_servers.connection import connect_to
from gearman_manager.job_servers.policy_gaps import COMMAND, policy_gaps

_log = logging.getLogger("policies")
ASK_TIMEOUT_S: Final = 2.0
#: The policies there may have changed meanwhile.
ASK_AGAIN_S: Final = 60.0
#: The wait after a server could not be asked.
RETRY_S: Final = 5.0


def ask_policies(server: Address) -> bytes | None:
    """A job server's answer to `policies`; None if it has no such command.

    Raises:
        OSError, GearmanError: the server can't be asked.
    """
    with AdminClient(connect_to(server, ASK_TIMEOUT_S), timeout_s=ASK_TIMEOUT_S) as admin:
        answer = admin.command(COMMAND)
    return None if answer.startswith(b"ERR ") else answer


def gaps_at(servers: Sequence[Address], layout: Layout) -> list[str]:
    """For `check`: a sentence for each key that does not hold, and for each server that can't be asked."""
    sentences = []
    for server in servers:
        try:
            found = policy_gaps(layout.functions, layout.pools, ask_policies(server))
            sentences += [f"{server}: {sentence}" for sentence in found]
        except (OSError, GearmanError) as error:
            sentences.append(f"{server}: can't be asked, so whether the functions' keys hold there is open: {error}")
    return sentences


class PolicyGapCheck:
    """Asks again and again while the manager runs. Gaps are logged when they change, and shown in `status`."""

    def __init__(self) -> None:
        #: The sentences of each server.
        self.broken: dict[str, list[str]] = {}
        self._servers: Sequence[Address] = ()
        self._layout = Layout({}, {}, ())
        self._look = gevent.event.Event()
        self._greenlet = gevent.Greenlet(self._run)

    def watch(self, servers: Sequence[Address], layout: Layout) -> None:
        """Ask these servers about these functions and pools from now on, and forget all others."""
        self._servers, self._layout = servers, layout
        names = {str(server) for server in servers}
        self.broken = {name: found for name, found in self.broken.items() if name in names}
        if servers:
            self._greenlet.start()  # which it does once
        self._look.set()

    def ask_now(self) -> None:
        """Ask again now: a server that has come back may have other policies, or be another one."""
        self._look.set()

    def close(self) -> None:
        """Stop asking."""
        self._greenlet.kill()

    def _run(self) -> None:
        while True:
            self._look.clear()
            complete = [self._ask(server) for server in self._servers]
            self._look.wait(ASK_AGAIN_S if all(complete) else RETRY_S)

    def _ask(self, server: Address) -> bool:
        try:
            found = policy_gaps(self._layout.functions, self._layout.pools, ask_policies(server))
        except (OSError, GearmanError):
            return False  # the queues' watch logs it
        before = self.broken.get(str(server), [])
        for sentence in found:
            if sentence not in before:
                _log.warning("job server %s: %s", server, sentence)
        if before and not found:
            _log.info("job server %s: all of the functions' keys hold there again", server)
        self.broken[str(server)] = found
        return True
