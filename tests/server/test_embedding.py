"""`from gearman_server import Server`: the job server inside a gevent program."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import gevent
import pytest
from gevent import socket

import gearman_server
from gearman_client.packet import PacketType, encode_request
from gearman_server import Server, ServerSettings, StartError, StoreSettings

from ..certificates import Certificates

DEADLINE_S = 20
ROOT = Path(__file__).parents[2]


def echoed(address: str) -> bytes:
    """The server's answer to one ECHO_REQ."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as peer:
        peer.sendall(encode_request(PacketType.ECHO_REQ, b"x"))
        answer: bytes = peer.recv(100)
        return answer


ECHO = b"\0RES\0\0\0\x11\0\0\0\x01x"


def test_an_embedded_server_serves_between_start_and_stop() -> None:
    server = Server("127.0.0.1:0")
    server.start()
    assert server.address == f"127.0.0.1:{server.port}"
    assert echoed(server.address) == ECHO
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        echoed(server.address)


def test_stopping_closes_connections_and_can_be_repeated() -> None:
    with Server("127.0.0.1:0") as server, socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.settimeout(DEADLINE_S)
        peer.sendall(b"getpid\n")
        assert peer.recv(100).startswith(b"OK ")
        server.stop()
        assert peer.recv(100) == b""
    server.stop()


def test_two_servers_live_side_by_side_and_the_program_goes_on() -> None:
    counted: list[int] = []

    def count() -> None:
        while len(counted) < 3:
            counted.append(1)
            gevent.sleep(0)

    with Server("127.0.0.1:0") as one, Server("127.0.0.1:0") as other:
        counter = gevent.spawn(count)
        assert one.port != other.port
        assert echoed(one.address) == echoed(other.address) == ECHO
        counter.join(DEADLINE_S)
    assert len(counted) == 3


def test_finishing_waits_for_the_running_job() -> None:
    with Server("127.0.0.1:0") as server, socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.settimeout(DEADLINE_S)
        peer.sendall(encode_request(PacketType.CAN_DO, b"f") + encode_request(PacketType.SUBMIT_JOB, b"f", b"", b""))
        handle = peer.recv(100)[12:]
        peer.sendall(encode_request(PacketType.GRAB_JOB))
        assert peer.recv(100)[4:8] == b"\0\0\0\x0b"
        idle = gevent.event.Event()
        server.finish(idle.set)
        assert not idle.wait(0)
        peer.sendall(encode_request(PacketType.WORK_COMPLETE, handle, b"r"))
        assert idle.wait(DEADLINE_S)


def test_a_server_has_no_address_before_it_starts_and_starts_once() -> None:
    server = Server("127.0.0.1:0")
    with pytest.raises(StartError, match="before it is started"):
        _ = server.address
    with server, pytest.raises(StartError, match="once"):
        server.start()


def test_a_taken_port_is_an_error_that_the_program_can_catch() -> None:
    with Server("127.0.0.1:0") as server, pytest.raises(StartError, match=f"port {server.port} on 127.0.0.1 is taken"):
        Server(server.address).start()


def test_a_start_that_fails_leaves_no_port_taken(free_port: int, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port}"
    failing = Server(address, settings=ServerSettings(store=StoreSettings(f"sqlite:///{tmp_path}/absent/jobs.db")))
    with pytest.raises(StartError, match="there is no folder"):
        failing.start()
    with Server(address) as server:
        assert echoed(server.address) == ECHO


def test_a_start_that_fails_late_gives_up_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_parts: object) -> None:
        raise RuntimeError("no HTTP today")

    settings = ServerSettings(store=StoreSettings(f"sqlite:///{tmp_path}/jobs.db"))
    failing = Server("127.0.0.1:0", settings=settings)
    with monkeypatch.context() as patched:
        patched.setattr("gearman_server.server.open_http_ports", fail)
        with pytest.raises(RuntimeError, match="no HTTP today"):
            failing.start()
    monkeypatch.setattr("gearman_server.stores.ownership.OWNER_PATIENCE_S", 0.0)
    with Server("127.0.0.1:0", settings=settings) as server:
        assert echoed(server.address) == ECHO


def test_a_monkey_patched_program_can_embed_it() -> None:
    program = """
from gevent import monkey; monkey.patch_all()
import socket
from gearman_server import Server
with Server("127.0.0.1:0") as server:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as peer:
        peer.sendall(b"show maxqueue f\\n")
        print(peer.recv(100))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == r"b'f\t0\t0\t0\n.\n'" + "\n"


# --- the settings


def test_every_setting_can_be_imported_from_the_package_itself(certificates: Certificates, tmp_path: Path) -> None:
    program = Path(__file__).with_name("embedding_program.py")
    assert set(re.findall(r"gearman_\w+", program.read_text())) == {"gearman_server"}
    shown = [certificates.server, certificates.key(certificates.server), certificates.ca]
    ran = subprocess.run(
        [sys.executable, str(program), *map(str, shown)],
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE_S,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    schedules = report.pop("schedules")
    assert all(name in schedules for name in ("nightly", "30 3 * * *", "hourly", "every 3600 s"))
    assert report == {
        "purposes": ["http", "jobs", "metrics", "tls"],
        "over TLS": f"OK {gearman_server.__version__}\n",
        "handle": report["handle"],
        "one too many": "QUEUE_ERROR\0Job queue is full",
        "administration": "ERR NOT_ALLOWED Not+from+this+address:+the+operator+says+who+may+with+--admin-allow\r\n",
        "too large": "INVALID_PACKET\0a packet announces 2003 bytes, the limit is 1000",
        "state": "waiting",
        "a certificate that is not there": "StartError",
        "a store that is none": "UsageError",
    }
    assert report["handle"].startswith("H:embedded:")
    assert (tmp_path / "jobs.db").exists()


def classes_of(settings: object, found: set[type]) -> set[type]:
    """All of our classes that are the type of a setting or of one of its fields, at any depth."""
    for part in get_args(settings):
        classes_of(part, found)
    if isinstance(settings, type) and settings.__module__.startswith("gearman_server") and settings not in found:
        found.add(settings)
        if is_dataclass(settings):
            exported = {name: getattr(gearman_server, name) for name in gearman_server.__all__}
            for field_type in get_type_hints(settings, localns=exported).values():
                classes_of(field_type, found)
    return found


def test_every_class_of_a_setting_is_exported() -> None:
    found = classes_of(ServerSettings, set())
    exported = {getattr(gearman_server, name) for name in gearman_server.__all__ if name != "__version__"}
    assert len(found) > 10
    assert found - exported == set()


def test_the_names_that_type_checkers_see_in_the_package_exist() -> None:
    """Type checkers read the imports that a running program leaves out."""
    tree = ast.parse(Path(gearman_server.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    seen = {alias.name: imported.module for imported in imports for alias in imported.names}
    assert seen == {name: f"gearman_server.{home}" for name, home in gearman_server._HOMES.items()}
    assert sorted([*seen, "__version__"]) == sorted(gearman_server.__all__)
    assert all(getattr(gearman_server, name).__module__ == home for name, home in seen.items())


def test_the_examples_in_the_documentation_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "job-server.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)[-1]
    examples = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        ran = subprocess.run(
            [sys.executable, "-c", example], capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert re.fullmatch(r"127\.0\.0\.1:\d+\n", ran.stdout)


# --- the package


def test_importing_the_package_loads_neither_gevent_nor_the_server() -> None:
    program = "import gearman_server, sys; print([m for m in sys.modules if 'gevent' in m or 'click' in m])"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S)
    assert ran.stdout == "[]\n"


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        _ = gearman_server.Sever
