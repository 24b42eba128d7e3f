"""Asks the job servers for their facts: version, store, connections. Often asked for, they are asked seldom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gevent

from gearman_client import Address, AdminClient, GearmanError
from gearman_manager.control.kept_answer import KeptAnswer
from gearman_manager.job_servers.connection import connect_to

#: For each step of the connection, and for the answers of a server.
TIMEOUT_S: Final = 1.0
#: How old the facts may be.
LASTS_S: Final = 5.0
_NUMBERS: Final = ("connections", "jobs")
_MOST_CHARACTERS: Final = 100
_UNKNOWN: Final = b"ERR UNKNOWN_COMMAND"

Facts = Mapping[str, Any]
NOTHING: Final[Facts] = {"version": None, "store": None, "connections": None, "jobs": None}


class ServerFacts:
    """The facts of all job servers, by address. Of a server that is none of ours only the version is known."""

    def __init__(self, addresses: Callable[[], Sequence[Address]]) -> None:
        self._addresses = addresses
        self._kept = KeptAnswer(self._ask_all, LASTS_S)

    def __call__(self) -> Mapping[str, Facts]:
        """The facts of the servers that answer."""
        return self._kept()

    def _ask_all(self) -> Mapping[str, Facts]:
        """All are asked at the same time."""
        asked = {str(address): gevent.spawn(_ask, address) for address in self._addresses()}
        gevent.joinall(list(asked.values()))
        return {name: answer.value for name, answer in asked.items() if answer.value is not None}


def _ask(address: Address) -> Facts | None:
    """The facts of one server, or None if it does not answer."""
    try:
        with gevent.Timeout(3 * TIMEOUT_S, TimeoutError()):
            connection = connect_to(address, TIMEOUT_S)
            with AdminClient(connection, timeout_s=TIMEOUT_S) as admin:
                answer = admin.command("facts")
                if answer.startswith(_UNKNOWN):
                    version = admin.command("version").decode(errors="replace").removeprefix("OK ").strip()
                    return {**NOTHING, "version": version[:_MOST_CHARACTERS]}
                return _read(answer)
    except (OSError, GearmanError):
        return None  # its state is told elsewhere


def _read(answer: bytes) -> Facts:
    lines = (line.split(b"\t", 1) for line in answer.splitlines()[:-1])
    told = {line[0].decode(errors="replace"): line[-1].decode(errors="replace")[:_MOST_CHARACTERS] for line in lines}
    numbers = {name: int(told[name]) for name in _NUMBERS if told.get(name, "").isdecimal()}
    return {**NOTHING, "version": told.get("version"), "store": told.get("store"), **numbers}
