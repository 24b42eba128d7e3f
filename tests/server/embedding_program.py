"""A gevent program that embeds the job server with every kind of setting, and imports only names of `gearman_server`.

It prints JSON with the effects of each setting. Its arguments: certificate, key and CA of the TLS port.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import socket  # noqa: E402
import ssl  # noqa: E402
import struct  # noqa: E402
import sys  # noqa: E402
import urllib.request  # noqa: E402

from gearman_server import (  # noqa: E402
    AccessList,
    BrokerSettings,
    DeadLetterBounds,
    Every,
    FunctionPolicy,
    KeepaliveSettings,
    ListenerSettings,
    ListenSettings,
    Missed,
    PolicyFile,
    PortSettings,
    Rate,
    ResultBounds,
    ScheduleRule,
    Server,
    ServerSettings,
    StartError,
    StoreSettings,
    TlsSettings,
    UsageError,
    parse_cron,
)

DEADLINE_S = 20
SUBMIT_JOB_BG = 18


def settings_of(certificate: str, key: str, ca_file: str) -> ServerSettings:
    """Each class of settings with at least one value that is not its default."""
    local = ListenSettings(("127.0.0.1:0",), keepalive=KeepaliveSettings(on_listening=True, idle_s=77))
    return ServerSettings(
        ports=PortSettings(jobs=local, tls=local, http=local, metrics=local),
        tls=TlsSettings(certificate, key, ca_file, verify=True),
        bounds=ListenerSettings(max_packet_bytes=1000, allowed=AccessList.of(["127.0.0.0/8"])),
        broker=BrokerSettings(
            handle_prefix=b"H:embedded",
            admin_allow=AccessList.of(["192.0.2.1"]),
            dead_letters=DeadLetterBounds(max_count=3),
            results=ResultBounds(max_count=3),
        ),
        store=StoreSettings("sqlite:///jobs.db", timeout_s=3.0),
        policies=PolicyFile(
            "policies.yaml",
            {b"f": FunctionPolicy(max_queue=1, rate=Rate(5, per_s=60.0), keep_result_s=60.0)},
            (
                ScheduleRule("nightly", parse_cron("30 3 * * *"), b"g", missed=Missed.SKIP),
                ScheduleRule("hourly", Every(3600.0), b"g"),
            ),
        ),
    )


def asked(peer: socket.socket, request: bytes) -> bytes:
    """The first packet that a connection answers."""
    peer.sendall(request)
    return peer.recv(4096)


def submission(workload: bytes) -> bytes:
    """A background job of the function f, without a unique key."""
    body = b"f\0\0" + workload
    return struct.pack(">4sII", b"\0REQ", SUBMIT_JOB_BG, len(body)) + body


def connect(address: str) -> socket.socket:
    """A plain connection."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


def seen(server: Server, certificate: str, key: str, ca_file: str) -> dict[str, object]:
    """The effects of the settings as peers see them."""
    addresses = {purpose: own for purpose, [own] in server.addresses_by_purpose.items()}
    context = ssl.create_default_context(cafile=ca_file)
    context.load_cert_chain(certificate, key)
    with connect(addresses["tls"]) as plain, context.wrap_socket(plain, server_hostname="localhost") as peer:
        over_tls = asked(peer, b"version\n")
    with connect(addresses["jobs"]) as peer:
        handle = asked(peer, submission(b"1"))[12:].decode()
        one_too_many = asked(peer, submission(b"2"))
        administration = asked(peer, b"maxqueue f 2\n")
        schedules = asked(peer, b"schedules list\n")
        too_large = asked(peer, submission(bytes(2000)))
    with urllib.request.urlopen(f"http://{addresses['metrics']}/jobs/{handle}", timeout=DEADLINE_S) as page:
        state = json.load(page)["state"]
    return {
        "purposes": sorted(addresses),
        "over TLS": over_tls.decode(),
        "handle": handle,
        "one too many": one_too_many[12:].decode(),
        "administration": administration.decode(),
        "schedules": schedules.decode(),
        "too large": too_large[12:].decode(),
        "state": state,
    }


def refused(settings: ServerSettings) -> str:
    """The reason why a server with these settings does not start."""
    server = Server("127.0.0.1:0", settings=settings)
    try:
        server.start()
    except (StartError, UsageError) as error:
        return type(error).__name__
    finally:
        server.stop()
    return "it starts"


def main(certificate: str, key: str, ca_file: str) -> None:
    """Embed the server, look at its settings' effects, and have it refuse bad settings."""
    with Server(settings=settings_of(certificate, key, ca_file)) as server:
        report = seen(server, certificate, key, ca_file)
    report["a certificate that is not there"] = refused(ServerSettings(tls=TlsSettings("absent.pem")))
    report["a store that is none"] = refused(ServerSettings(store=StoreSettings("http://127.0.0.1/")))
    print(json.dumps(report))


main(*sys.argv[1:])
