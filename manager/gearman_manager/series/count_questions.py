"""Asks our job servers what they have counted: all at once, each by a connection of its own, within a bound of time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import gevent

from gearman_client import Address, AdminClient, GearmanError
from gearman_manager.job_servers.connection import connect_to

_log = logging.getLogger("history")
COMMAND: Final = "counts"
TIMEOUT_S: Final = 2.0
#: Of one answer: a line of some 300 bytes for each function.
MOST_BYTES: Final = 16 * 1024 * 1024


class CountQuestions:
    """Asks the servers that there are."""

    def __init__(self, addresses: Callable[[], Sequence[Address]]) -> None:
        """`addresses` gives the servers that know the question and can be reached."""
        self._addresses = addresses
        self._silent: set[Address] = set()

    def ask(self) -> Mapping[Address, bytes]:
        """The answers of those that answer."""
        addresses = self._addresses()
        asked = [gevent.spawn(self._answer, address) for address in addresses]
        gevent.joinall(asked)
        return {address: each.value for address, each in zip(addresses, asked, strict=True) if each.value is not None}

    def _answer(self, address: Address) -> bytes | None:
        """The answer; of failures in a row only the first is logged."""
        try:
            connection = connect_to(address, TIMEOUT_S)
            with AdminClient(connection, timeout_s=TIMEOUT_S, max_response_bytes=MOST_BYTES) as admin:
                answer = admin.command(COMMAND)
        except (OSError, GearmanError) as error:
            if address not in self._silent:
                _log.warning("the job server %s does not say what it has counted: %s", address, error)
            self._silent.add(address)
            return None
        self._silent.discard(address)
        return None if answer.startswith(b"ERR") else answer  # one of another version
