"""The settings of a relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gearman_client.address import Address
from gearman_client.outbox.schema import TABLE

#: A row that a job server refuses for the time being is tried again so often: with the waits between, for 16 hours.
RETRIES = 1000


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The settings of a relay.

    servers: the job servers.
    table: the table of the outbox.
    poll_s: how often an idle relay looks for rows.
    retries: how often a row is tried again that a job server refuses for the time being.
    reply_timeout_s: how long a job server may take for an answer.
    metrics: where figures for Prometheus are served; None: nowhere.
    """

    servers: Sequence[Address]
    table: str = TABLE
    poll_s: float = 0.05
    retries: int = RETRIES
    reply_timeout_s: float = 10.0
    metrics: Address | None = None
