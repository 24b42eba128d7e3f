"""The collector, at real job servers: embedded ones, on the test's loop."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gevent
import gevent.socket
import pytest

from gearman_client import Address, AdminError
from gearman_client.address import parse_address
from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request
from gearman_manager.finished import collector as collector_module
from gearman_manager.finished import keeper as keeper_module
from gearman_manager.finished.attempt import FinishedAttempt, Page
from gearman_manager.finished.collector import PAGE_LINES, Collector
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.search import Wanted
from gearman_manager.privacy.function_privacy import FunctionPrivacy
from gearman_server import Server
from gearman_server.broker_settings import BrokerSettings
from gearman_server.edge.settings import ListenSettings, PortSettings
from gearman_server.server import ServerSettings

from .conftest import SERVER, Bounds, attempt

DEADLINE_S = 20.0


class Site:
    """Job servers, and a collector that asks them."""

    def __init__(self, make_keeper: Callable[[], Keeper]) -> None:
        self._make_keeper = make_keeper
        self.servers: list[Server] = []
        self.asked: list[Address] = []
        self.received: list[FinishedAttempt] = []
        self.collectors: list[Collector] = []
        self.keeper = make_keeper()

    def server(self, address: str = "127.0.0.1:0", **settings: Any) -> Server:
        """Start a job server and have it asked."""
        broker = BrokerSettings(handle_prefix=b"H:test", **{"finished_jobs": 1000, **settings})
        server = Server(settings=ServerSettings(PortSettings(ListenSettings((address,))), broker=broker))
        server.start()
        self.servers.append(server)
        self.asked.append(parse_address(server.address))
        return server

    def start(self) -> Collector:
        collector = Collector(lambda: self.asked, self.keeper)
        collector.subscribe(self.received.extend)
        self.collectors.append(collector)
        collector.start()
        return collector

    def restart(self) -> Collector:
        """The manager ends and comes back."""
        self.stop()
        self.received.clear()
        self.keeper = self._make_keeper()
        return self.start()

    def stop(self) -> None:
        for collector in self.collectors:
            collector.close()
        self.collectors.clear()
        self.keeper.close()

    def wait_for(self, jobs: int) -> None:
        """Wait until so many ends were received, and their rows are written."""
        with gevent.Timeout(DEADLINE_S, AssertionError(f"{len(self.received)} ends, not {jobs}")):
            while len(self.received) < jobs or len(self.rows()) < jobs:
                gevent.sleep(0.01)

    def rows(self) -> list[dict[str, Any]]:
        return self.keeper.page(Wanted(with_attempts=True), 10_000, None)[::-1]


@pytest.fixture
def site(make_keeper: Callable[[], Keeper], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(collector_module, "EVERY_S", 0.02)
    monkeypatch.setattr(collector_module, "RETRY_S", 0.02)
    monkeypatch.setattr(collector_module, "PAUSE_S", 0.001)
    made = Site(make_keeper)
    yield made
    made.stop()
    for server in made.servers:
        server.stop()


def do_jobs(server: Server, number: int, end: PacketType = PacketType.WORK_COMPLETE) -> None:
    """Have jobs of `f` done by a worker, one after the other."""
    with closing(gevent.socket.create_connection(("127.0.0.1", server.port))) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        parser = PacketParser(RESPONSE_MAGIC)

        def ask(*packets: bytes) -> bytes:
            sock.sendall(b"".join(packets))
            while True:
                for kind, body in parser.feed(sock.recv(65536)):
                    if kind == PacketType.JOB_ASSIGN:
                        return body.split(b"\0")[0]
                    if kind == PacketType.ECHO_RES:
                        return b""

        grab, submit = encode_request(PacketType.GRAB_JOB), encode_request(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w")
        sock.sendall(encode_request(PacketType.CAN_DO, b"f"))
        for _ in range(number):
            sock.sendall(encode_request(end, *([ask(submit, grab)] + [b""] * (end != PacketType.WORK_FAIL))))
        ask(encode_request(PacketType.ECHO_REQ, b"x"))


def test_ends_are_told_and_kept(site: Site) -> None:
    server = site.server()
    site.start()
    do_jobs(server, 3)
    do_jobs(server, 1, PacketType.WORK_FAIL)
    site.wait_for(4)
    assert [each.outcome for each in site.received] == ["complete"] * 3 + ["failed"]
    assert [each.number for each in site.received] == [1, 2, 3, 4]
    assert [row["handle"] for row in site.rows()] == [each.handle for each in site.received]
    assert {each.server for each in site.received} == {server.address}


def test_more_than_a_page_comes_in_small_batches_and_in_order(site: Site) -> None:
    server = site.server(finished_jobs=4 * PAGE_LINES)
    batches: list[int] = []
    do_jobs(server, PAGE_LINES + 20)
    site.start().subscribe(lambda batch: batches.append(len(batch)))
    site.wait_for(PAGE_LINES + 20)
    assert [row["number"] for row in site.rows()] == list(range(1, PAGE_LINES + 21))
    assert max(batches) <= 50


def test_several_servers_are_asked_also_one_that_comes_later(site: Site) -> None:
    first = site.server()
    site.start()
    do_jobs(first, 2)
    site.wait_for(2)
    second = site.server()
    do_jobs(second, 3)
    site.wait_for(5)
    assert {each.server for each in site.received} == {first.address, second.address}


def test_over_a_restart_of_the_manager_nothing_is_told_twice(site: Site) -> None:
    server = site.server()
    site.start()
    do_jobs(server, 3)
    site.wait_for(3)
    site.stop()
    do_jobs(server, 2)
    site.restart()
    with gevent.Timeout(DEADLINE_S):
        while len(site.rows()) < 5:
            gevent.sleep(0.01)
    assert [each.number for each in site.received] == [4, 5]


def test_a_restarted_server_begins_anew(site: Site) -> None:
    server = site.server()
    site.start()
    do_jobs(server, 3)
    site.wait_for(3)
    address = server.address
    server.stop()
    site.asked.clear()
    again = site.server(address)
    do_jobs(again, 2)
    site.wait_for(5)
    runs = [each.run for each in site.received]
    assert [each.number for each in site.received] == [1, 2, 3, 1, 2]
    assert len({*runs[:3]}) == len({*runs[3:]}) == 1
    assert runs[0] != runs[3]


def test_the_last_ends_are_read_before_the_manager_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server = site.server()
    collector = site.start()
    do_jobs(server, 1)
    site.wait_for(1)
    monkeypatch.setattr(collector_module, "EVERY_S", 600.0)
    gevent.sleep(0.1)  # each greenlet waits for ten minutes now
    do_jobs(server, 2)
    collector.close()
    assert len(site.rows()) == 3


def test_what_a_server_could_not_keep_is_counted_and_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    server = site.server(finished_jobs=10)
    do_jobs(server, 20)
    collector = site.start()
    site.wait_for(5)
    assert collector.missed == 0, "nobody asked for those that ended before the manager knew the server"
    site.stop()
    do_jobs(server, 30)
    with caplog.at_level(logging.WARNING):
        collector = site.restart()
        site.wait_for(5)
    assert [each.number for each in site.received] == [46, 47, 48, 49, 50]
    assert collector.missed == 25
    assert [record.message for record in caplog.records] == [
        f"25 ends of jobs are not kept: on {server.address} they came faster than they are read"
    ]


def test_a_server_that_keeps_none_is_left_alone(site: Site) -> None:
    site.server(finished_jobs=0)
    server = site.server()
    site.start()
    do_jobs(server, 1)
    site.wait_for(1)
    assert {address for address, _ in site.collectors[0]._readers} == set(site.asked)


def test_what_is_private_is_neither_told_nor_kept(site: Site) -> None:
    server = site.server()
    told: list[tuple[int, str]] = []
    site.keeper.privacy.use({}, FunctionPrivacy(shows_workloads=False))
    collector = site.start()
    collector.subscribe(lambda batch: told.extend((each.number, each.workload) for each in batch))
    do_jobs(server, 3)
    site.wait_for(3)
    site.keeper.privacy.use({}, FunctionPrivacy())
    assert told == [(1, ""), (2, ""), (3, "")]
    assert {(row["workload"], row["workload_bytes"] > 0) for row in site.rows()} == {("", True)}


def test_it_asks_nobody_while_none_are_kept(site: Site, bounds: Bounds) -> None:
    before, bounds.now = bounds.now, None
    server = site.server()
    site.start()
    gevent.sleep(0.1)  # some looks
    assert not site.collectors[0]._readers
    bounds.now = before
    do_jobs(server, 1)
    site.wait_for(1)
    bounds.now = None
    with gevent.Timeout(DEADLINE_S):
        while site.collectors[0]._readers:
            gevent.sleep(0.01)


def test_nothing_is_told_of_a_page_that_makes_no_sense(site: Site) -> None:
    """It is read again every half a minute: its first ends would be counted each time."""
    line = b"\t".join((b"1\t1.5\tH:a:1\tf\t\thigh\t1\tcomplete\t\t1\t1.0\t1.0", *[b""] * 4, b"0", *[b""] * 4))
    collector = Collector(list, site.keeper)
    collector.subscribe(site.received.extend)
    collector._take_in(Page([line] * 60, "r", "r.60", 0), "a:4730", "")
    assert len(site.received) == 60
    with pytest.raises(AdminError, match="makes no sense"):
        collector._take_in(Page([line] * 60 + [line.replace(b"1.5", b"nan")], "r", "r.61", 0), "a:4730", "")
    assert len(site.received) == 60


def test_what_is_too_old_goes_while_no_job_ends(
    site: Site, make_keeper: Callable[[], Keeper], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "TIDY_EVERY_S", 0.0)
    site.keeper.keep([attempt(1), attempt(2, function="secret")], SERVER, "r1.2")
    other = make_keeper()  # without the rule, so it tells of what is in the file
    site.keeper.privacy.use({"secret": FunctionPrivacy(retention_s=0.0)}, FunctionPrivacy())
    site.start()
    with gevent.Timeout(DEADLINE_S):
        while len(rows := other.page(Wanted(), 10, None)) > 1:
            gevent.sleep(0.01)
    assert [row["function"] for row in rows] == ["f"]


def test_a_receiver_gets_what_is_written_a_moment_later(site: Site) -> None:
    """The failures page groups what it receives, and finds the rows in the file by server, run and number."""
    server = site.server()
    site.start()
    do_jobs(server, 2)
    site.wait_for(2)
    kept: Sequence[dict[str, Any]] = site.rows()
    assert [(row["server"], row["run"], row["number"]) for row in kept] == [
        (each.server, each.run, each.number) for each in site.received
    ]
