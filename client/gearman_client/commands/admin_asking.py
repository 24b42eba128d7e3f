"""Asks several job servers at once, each on a connection of its own, for `gearadmin`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gearman_client.address import Address
from gearman_client.admin.admin import AdminClient, connect_admin
from gearman_client.commands.admin_actions import Answer, Request, ask
from gearman_client.errors import AdminError, GearmanError

#: No more servers than that are asked at the same time.
MOST_AT_ONCE: Final = 64


@dataclass(slots=True)
class ServerAnswers:
    """What one server has answered; `failure` tells why there is not an answer to every request."""

    server: Address
    answers: list[Answer] = field(default_factory=list)
    failure: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether the server has done all that was asked."""
        return self.failure is None and all(answer.refusal is None for answer in self.answers)


class AskedServer:
    """One server, and the connection to it, which is kept from one question to the next."""

    def __init__(self, server: Address, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._client: AdminClient | None = None

    def ask(self, requests: Sequence[Request], *, with_rows: bool) -> ServerAnswers:
        """Carry the requests out, up to the first one without an answer that makes sense."""
        found = ServerAnswers(self._server)
        try:
            if self._client is None:
                self._client = connect_admin(self._server, self._timeout_s)
            for request in requests:
                found.answers.append(ask(self._client, request, with_rows=with_rows))
        except AdminError as error:
            found.failure = f"{self._server}: {error}"
            self.close()
        except GearmanError as error:
            found.failure = str(error) if str(self._server) in str(error) else f"{self._server}: {error}"
            self.close()
        return found

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def ask_all(servers: Sequence[AskedServer], requests: Sequence[Request], *, with_rows: bool) -> list[ServerAnswers]:
    """Ask all servers at once; the answers come in the order of the servers, tables as values if `with_rows`."""
    if len(servers) == 1:
        return [servers[0].ask(requests, with_rows=with_rows)]
    found: dict[int, ServerAnswers] = {}
    numbers = iter(range(len(servers)))

    def ask_some() -> None:
        for number in numbers:
            found[number] = servers[number].ask(requests, with_rows=with_rows)

    # Daemon threads, so that Ctrl-C ends the command while a server does not answer.
    threads = [threading.Thread(target=ask_some, daemon=True) for _ in range(min(MOST_AT_ONCE, len(servers)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(servers))]
