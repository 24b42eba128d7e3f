"""The figures of a relay, as `gearman-manager outbox` serves them for Prometheus."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gearman_manager.outbox.listing import Counts
from gearman_manager.outbox.outcomes import Outcome

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Figures:
    """Counted by the relay's thread, read by that of the metrics port.

    is_up: whether each job server answers.
    counts: of the rows in the table.
    """

    def __init__(self) -> None:
        self.is_up: dict[str, bool] = {}
        self.counts = Counts(0, 0, 0)
        self._registry = registry = CollectorRegistry()
        self._handed = Counter(
            "gearman_outbox_handed_over", "Rows that a job server has taken.", ["server"], registry=registry
        )
        self._aside = Counter(
            "gearman_outbox_put_aside", "Rows that were set aside, with a reason.", ["function"], registry=registry
        )
        self._again = Counter(
            "gearman_outbox_put_back", "Rows that are tried again, or were not sent.", ["server"], registry=registry
        )
        self._delays = Histogram(
            "gearman_outbox_delay_seconds",
            "From the insert, by the program's clock, to the job.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._rows = Gauge("gearman_outbox_rows", "Rows in the table, every ten seconds.", ["state"], registry=registry)
        self._oldest = Gauge("gearman_outbox_oldest_seconds", "The age of the oldest waiting row.", registry=registry)
        self._up = Gauge("gearman_outbox_server_up", "Whether the job server answers.", ["server"], registry=registry)

    def note(self, server: str, outcome: Outcome, now_ms: int) -> None:
        """Count the rows of a batch."""
        self._handed.labels(server).inc(len(outcome.created))
        self._again.labels(server).inc(len(outcome.changes) - len(outcome.aside))
        for row in outcome.created:
            if row.created_ms:  # a row that was written by hand may have none
                self._delays.observe(max(0, now_ms - row.created_ms) / 1000)
        for row, _ in outcome.aside:
            self._aside.labels(row.function).inc()

    def note_down(self, server: str) -> bool:
        """A job server does not answer. Returns whether that is new."""
        was_up = self.is_up.get(server, True)
        self.is_up[server] = False
        return was_up

    def keep_servers(self, servers: Collection[str]) -> None:
        """Tell of these job servers alone whether they answer."""
        for server in self.is_up.keys() - servers:
            del self.is_up[server]

    def text(self) -> bytes:
        """The text for Prometheus."""
        self._rows.labels("waiting").set(self.counts.waiting)
        self._rows.labels("aside").set(self.counts.aside)
        self._oldest.set(self.counts.oldest_ms / 1000)
        self._up.clear()
        for server, is_up in list(self.is_up.items()):
            self._up.labels(server).set(is_up)
        return generate_latest(self._registry)
