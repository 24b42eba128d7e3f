"""The metrics of a server's part in a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from gearman_server.cluster.members import MemberState

if TYPE_CHECKING:
    from gearman_server.cluster.part import Part


def cluster_metrics(part: Part, comebacks: int) -> Iterator[Metric]:
    """What is known of the cluster here; the server was declared dead, and came back, so many times."""
    states = Counter(member.state for member in part.members)
    servers = GaugeMetricFamily("gearman_cluster_servers", "Servers of the cluster, by state.", labels=("state",))
    for state in MemberState:
        servers.add_metric((state.name.lower(),), states[state])
    yield servers
    is_valid = int(not part.durable_jobs.are_withheld)
    yield GaugeMetricFamily("gearman_cluster_lease_valid", "Whether durable jobs are given out here.", value=is_valid)
    adopted = part.adoption.adopted
    yield CounterMetricFamily("gearman_cluster_jobs_adopted", "Jobs that came from other servers.", value=adopted)
    text = "How often the others declared this server dead, and it came back as a new one."
    yield CounterMetricFamily("gearman_cluster_comebacks", text, value=comebacks)
