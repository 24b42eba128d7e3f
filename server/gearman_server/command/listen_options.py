"""The options about addresses, TLS, HTTP, metrics and who may connect, and the settings that they mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import click

from gearman_server.command.parameter_types import Port, WholeNumber
from gearman_server.edge.settings import KeepaliveSettings, ListenSettings, PortSettings, TlsSettings
from gearman_server.edge.sockets import split_address
from gearman_server.edge.unix_sockets import UNIX_PREFIX
from gearman_server.errors import UsageError
from gearman_server.jobs.access import AccessList

DEFAULT_ADDRESS: Final = "127.0.0.1"
DEFAULT_PORT: Final = 4730
DEFAULT_HTTP_PORT: Final = 8080
DEFAULT_LISTEN_BACKLOG: Final = 1024
# Those of Debian's gearmand, and of one that was configured with --sysconfdir=/etc.
DEFAULT_CERTIFICATE: Final = "/etc/ssl/certs/gearmand.pem"
DEFAULT_KEY: Final = "/etc/ssl/certs/gearmand.key"
DEFAULT_CA_FILE: Final = "/etc/ssl/certs/gearmand-ca.pem"

_PORT: Final = Port()


def option(*names: str, **attributes: Any) -> click.Option:
    """A click option, written like the decorator of that name."""
    return click.Option(names, **attributes)


_WHERE: Final = (
    option(
        "-L",
        "--listen",
        multiple=True,
        is_flag=False,
        flag_value=DEFAULT_ADDRESS,
        metavar="[ADDRESS]",
        help="Address or name to listen on, HOST, HOST:PORT or unix:PATH; may be repeated."
        f"  [default: {DEFAULT_ADDRESS}]",
    ),
    option(
        "-p",
        "--port",
        type=_PORT,
        default=DEFAULT_PORT,
        envvar="GEARMAND_PORT",
        show_default=True,
        metavar="PORT",
        help="Port to listen on, a number or a service's name; 0 = any free one.",
    ),
    option(
        "--socket-mode",
        default="660",
        show_default=True,
        metavar="MODE",
        help="Access to a Unix socket's file, in octal digits.",
    ),
    option(
        "--allow",
        multiple=True,
        metavar="CIDR",
        help="Network or address that may connect; may be repeated.  [default: all]",
    ),
    option(
        "-b",
        "--backlog",
        type=WholeNumber(1),
        default=DEFAULT_LISTEN_BACKLOG,
        show_default=True,
        metavar="N",
        help="Connections that may wait to be accepted.",
    ),
    option("--keepalive", is_flag=True, help="TCP keepalive on the listening sockets; connections always have it."),
    option(
        "--keepalive-idle",
        type=WholeNumber(-1),
        metavar="SECONDS",
        help="Silence before the first probe.  [default: 60]",
    ),
    option("--keepalive-interval", type=WholeNumber(-1), metavar="SECONDS", help="Time between probes.  [default: 10]"),
    option(
        "--keepalive-count", type=WholeNumber(-1), metavar="N", help="Lost probes that end a connection.  [default: 3]"
    ),
)

_KEEPALIVE: Final = KeepaliveSettings()

_TLS_OPTIONS: Final = (
    option("--ssl", is_flag=True, help="The port speaks TLS, and nothing else."),
    option("--ssl-port", type=_PORT, metavar="PORT", help="A port of its own for TLS, beside the plain one."),
    option(
        "--ssl-certificate",
        metavar="FILE",
        help=f"The server's certificate and its chain, PEM.  [default: {DEFAULT_CERTIFICATE}]",
    ),
    option(
        "--ssl-key",
        metavar="FILE",
        help=f"The certificate's key, PEM.  [default: in the certificate's file; {DEFAULT_KEY} for the default one]",
    ),
    option(
        "--ssl-ca-file",
        metavar="FILE",
        help="Certificates of those who sign clients' certificates, PEM."
        f"  [default: {DEFAULT_CA_FILE}, if there is one]",
    ),
    option("--ssl-verify", is_flag=True, help="Refuse clients without a certificate that the CA has signed."),
)

_HTTP_OPTIONS: Final = (
    option(
        "-r",
        "--protocol",
        metavar="http",
        help="Take jobs over HTTP too, on a port of its own.",
    ),
    option(
        "--http-port",
        type=_PORT,
        default=DEFAULT_HTTP_PORT,
        show_default=True,
        metavar="PORT",
        help="Port for HTTP, with -r http.",
    ),
    option(
        "--http-listen",
        multiple=True,
        metavar="ADDRESS",
        help="Address for HTTP, HOST or HOST:PORT; may be repeated.  [default: those of -L]",
    ),
    option(
        "--http-allow-host",
        multiple=True,
        metavar="NAME",
        help="A name, beside this machine's own, for the HTTP ports, or of a site whose web pages may use them;"
        " * = any; may be repeated.",
    ),
    option(
        "--metrics-listen", metavar="HOST:PORT", help="Serve /metrics for Prometheus, /healthz and /jobs/HANDLE there."
    ),
)

LISTEN_OPTIONS: Final = (*_WHERE, *_TLS_OPTIONS, *_HTTP_OPTIONS)


# --- what they mean


def port_settings(options: dict[str, Any]) -> PortSettings:
    """All ports.

    Raises:
        UsageError: an option that can't be carried out.
    """
    jobs = _jobs(options)
    return PortSettings(jobs, tls=_tls(options, jobs), http=_http(options, jobs), metrics=_metrics(options, jobs))


def _jobs(options: dict[str, Any]) -> ListenSettings:
    return ListenSettings(
        addresses=options["listen"] or (DEFAULT_ADDRESS,),
        port=options["port"],
        backlog=options["backlog"],
        keepalive=KeepaliveSettings(
            on_listening=options["keepalive"],
            idle_s=_figure(options["keepalive_idle"], _KEEPALIVE.idle_s),
            interval_s=_figure(options["keepalive_interval"], _KEEPALIVE.interval_s),
            count=_figure(options["keepalive_count"], _KEEPALIVE.count),
        ),
        socket_mode=_mode(options["socket_mode"]),
    )


def tls_settings(options: dict[str, Any]) -> TlsSettings | None:
    """The TLS files; None without TLS. As in gearmand the environment wins over the options.

    Raises:
        UsageError: a combination that means nothing.
    """
    if not options["ssl"] and options["ssl_port"] is None:
        given = [name for name in ("ssl_certificate", "ssl_key", "ssl_ca_file", "ssl_verify") if options[name]]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} means nothing without --ssl or --ssl-port")
        return None
    certificate = os.environ.get("GEARMAND_SERVER_PEM") or options["ssl_certificate"]
    key = os.environ.get("GEARMAND_SERVER_KEY") or options["ssl_key"]
    if not certificate:
        certificate, key = DEFAULT_CERTIFICATE, key or DEFAULT_KEY
    ca_file = os.environ.get("GEARMAND_CA_CERTIFICATE") or options["ssl_ca_file"]
    if not ca_file and (options["ssl_verify"] or os.path.exists(DEFAULT_CA_FILE)):
        ca_file = DEFAULT_CA_FILE
    return TlsSettings(certificate, key, ca_file or None, options["ssl_verify"])


def _tls(options: dict[str, Any], jobs: ListenSettings) -> ListenSettings | None:
    if options["ssl_port"] is None:
        return None
    return replace(jobs, addresses=_hosts(jobs.addresses), port=options["ssl_port"], port_option="--ssl-port")


def _http(options: dict[str, Any], jobs: ListenSettings) -> ListenSettings | None:
    protocol = options["protocol"]
    if protocol is not None and protocol.lower() != "http":
        raise UsageError(f"--protocol: {protocol} is unknown; the only protocol beside Gearman's own is http")
    addresses = options["http_listen"]
    if protocol is None and not addresses:
        return None
    if addresses:
        jobs = replace(jobs, address_option="--http-listen")
    return replace(
        jobs, addresses=addresses or _hosts(jobs.addresses), port=options["http_port"], port_option="--http-port"
    )


def _metrics(options: dict[str, Any], jobs: ListenSettings) -> ListenSettings | None:
    address = options["metrics_listen"]
    if address is None:
        return None
    if split_address(address)[1] is None:
        raise UsageError(f"--metrics-listen {address}: the port is missing; write HOST:PORT, or [IPV6]:PORT")
    remedy = "--metrics-listen HOST:PORT"
    return replace(jobs, addresses=(address,), port_option=remedy, address_option=remedy)


def allowed(options: dict[str, Any]) -> AccessList | None:
    """Who may connect; None for everybody.

    Raises:
        UsageError: what is given is no network.
    """
    if not options["allow"]:
        return None
    try:
        return AccessList.of(options["allow"])
    except ValueError as error:
        raise UsageError(f"--allow: {error}; write an address or a network such as 10.0.0.0/8") from error


def http_hosts(options: dict[str, Any]) -> Sequence[str]:
    """The further names of the HTTP ports.

    Raises:
        UsageError: one of them is no name.
    """
    names: Sequence[str] = options["http_allow_host"]
    for name in names:
        if not name or not name.isascii() or set(name) & set("/:@ "):
            raise UsageError(f"--http-allow-host {name}: write only a name, such as jobs.example.com")
    return names


def _hosts(addresses: Sequence[str]) -> Sequence[str]:
    """The same hosts without their ports. An IPv6 address gets its brackets back."""
    hosts = [split_address(address)[0] for address in addresses if not address.startswith(UNIX_PREFIX)]
    return [f"[{host}]" if ":" in host else host for host in dict.fromkeys(hosts)] or [DEFAULT_ADDRESS]


def _figure(given: int | None, default: int | None) -> int | None:
    """As in gearmand -1 leaves it to the system; so does 0, which the kernel refuses."""
    if given is None:
        return default
    return given if given > 0 else None


def _mode(digits: str) -> int:
    try:
        mode = int(digits, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise UsageError(f"--socket-mode: {digits} is no mode; write octal digits up to 777, such as 660")
    return mode
