"""Opens a server's HTTP ports. Each is loaded only if it is configured: most servers have none."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.edge.listener import Listener
    from gearman_server.http.port import HttpPort
    from gearman_server.jobs.access import AccessList


def open_http_ports(
    broker: Broker,
    listener: Listener,
    sockets: Mapping[str, Sequence[socket.socket]],
    allowed: AccessList | None,
) -> list[HttpPort]:
    """Serve jobs on the sockets for `http`, and metrics on those for `metrics`."""
    opened = []
    if "http" in sockets:
        opened.append(_job_port(listener, allowed))
        opened[-1].listen(sockets["http"])
    if "metrics" in sockets:
        opened.append(_metrics_port(broker, listener, allowed))
        opened[-1].listen(sockets["metrics"])
    return opened


def _job_port(listener: Listener, allowed: AccessList | None) -> HttpPort:
    from gearman_server.http.jobs import JobApplication
    from gearman_server.http.port import HttpPort, HttpSettings
    from gearman_server.http.web_pages import WebPages

    pages = WebPages(listener.settings.http_hosts)
    return HttpPort(JobApplication(listener, pages), listener.loop, HttpSettings(allowed))


def _metrics_port(broker: Broker, listener: Listener, allowed: AccessList | None) -> HttpPort:
    """Make the port for metrics. Counting costs something for each job, so only a server with this port counts."""
    from gearman_server.http.metrics import Metrics
    from gearman_server.http.metrics_application import MetricsApplication
    from gearman_server.http.port import HttpPort, HttpSettings
    from gearman_server.http.result_pages import ResultPages
    from gearman_server.http.web_pages import WebPages

    application = MetricsApplication(
        Metrics(broker).pieces,
        lambda: broker.troubles.text,
        ResultPages(broker).page,
        WebPages(listener.settings.http_hosts, everywhere=False),
    )
    return HttpPort(application, listener.loop, HttpSettings(allowed, max_connections=32))
