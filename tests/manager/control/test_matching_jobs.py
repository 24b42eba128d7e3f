"""All jobs that match, on real job servers: those that were there at a moment are changed, and no others."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from gearman_client import Address, Client
from gearman_client.packet import PacketType
from gearman_manager.control import bulk_changes, matching_jobs
from gearman_manager.control.bulk_changes import BulkChange, BulkChanges, Report
from gearman_manager.control.matching_jobs import Matching, MatchingJobs
from gearman_manager.control.server_access import command_lines
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.shown_finds import PAGE_JOBS
from gearman_manager.dashboard import found_jobs
from gearman_manager.errors import ManagerError, NotFound, NotNow, Unreachable
from gearman_manager.privacy import FunctionPrivacy, Privacy

from ...server.server_process import ServerProcess

#: A handle is longer than 20 bytes: more of them than a job server reads in one line.
MANY = 700


class Servers:
    """Two job servers without a cluster, and one that does not answer."""

    def __init__(self, stack: ExitStack) -> None:
        self.servers = [ServerProcess("-L", "127.0.0.1") for _ in range(2)]
        for server in self.servers:
            stack.callback(server.stop)
        self.addresses = [Address("127.0.0.1", server.port) for server in self.servers]
        self.privacy = Privacy()
        self.jobs = ServerJobs(lambda: self.addresses, privacy=self.privacy)
        self.matching = MatchingJobs(self.jobs.servers, self.privacy)

    def client(self, address: Address) -> Client:
        return Client(str(address))

    def submit(self, count: int, function: str = "f", server: int = 0, workload: bytes = b"w") -> list[str]:
        with self.client(self.addresses[server]) as client:
            return [str(handle) for handle in client.submit_background_many(function, [workload] * count)]

    def take(self, server: int = 0) -> str:
        """The job that a worker has from now on."""
        worker = self.servers[server].peer()
        worker.send(PacketType.CAN_DO, b"f")
        return worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0].decode()

    def bury(self, count: int, server: int = 0, workload: bytes = b"w") -> list[str]:
        """The handles of jobs that have failed for good."""
        self.submit(count, server=server, workload=workload)
        worker = self.servers[server].peer()
        worker.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        worker.send(PacketType.CAN_DO, b"f")
        handles = []
        for _ in range(count):
            handles.append(worker.ask(PacketType.GRAB_JOB)[1].split(b"\0")[0])
            worker.send(PacketType.WORK_FAIL, handles[-1])
        worker.sync()
        worker.close()
        return [handle.decode() for handle in handles]

    def listed(self, family: str) -> list[str]:
        return [
            row["handle"]
            for address in self.addresses
            for row in self.jobs.page(family, {"limit": "1000", "server": str(address)})["jobs"]
        ]

    def found(self, family: str, **conditions: str) -> list[str]:
        """The handles in all pages of the first server."""
        handles, position = list[str](), {"server": str(self.addresses[0])}
        while position.get("server") == str(self.addresses[0]):
            page = self.jobs.page(family, {**conditions, **position})
            handles += [row["handle"] for row in page["jobs"]]
            position = page["next"] or {}
        return handles

    def look(self, family: str, *conditions: str, state: str = "") -> Matching:
        """What is meant by one who sees the lists now."""
        self.listed(family)
        return Matching(family, conditions, time.time(), state)

    def change(self, what: str, matching: Matching, expected: int) -> Report:
        change = BulkChange(what, "", expected)
        self.matching.change(what, matching, change)
        change.ended = time.time()
        report = change.report()
        return {name: report[name] for name in ("done", "left", "gone", "problems")}


@pytest.fixture(scope="module")
def running() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture
def servers(running: Servers) -> Iterator[Servers]:
    yield running
    running.privacy.use({}, FunctionPrivacy())
    running.jobs.change("dead drop", ["all"])
    for family in ("stop", "cancel"):
        running.change(family, running.look("jobs"), 0)


def outcome(done: int, *, left: int = 0, gone: int = 0) -> Report:
    return {"done": done, "left": left, "gone": gone, "problems": []}


@pytest.mark.parametrize("what", ["retry", "drop"])
def test_all_letters_of_all_servers_are_changed_but_those_that_came_later(servers: Servers, what: str) -> None:
    early, gone = servers.bury(4), servers.bury(1)
    other = servers.bury(3, server=1)
    looked = servers.look("dead", "function=f")
    counts = servers.matching.count(looked)
    assert (counts.by_state, counts.missing) == ({"dead": 8}, [])
    late = [*servers.bury(2), *servers.bury(1, server=1)]
    servers.jobs.change_each("dead drop", gone)
    assert servers.matching.count(looked).of(what) == 7
    assert servers.change(what, looked, counts.of(what)) == outcome(7, gone=1)
    assert servers.listed("dead") == late
    assert servers.listed("jobs") == ([*early, *other] if what == "retry" else [])


def test_letters_that_can_not_be_tried_again_are_told_apart_from_those_that_are_gone(servers: Servers) -> None:
    servers.bury(2)
    with servers.client(servers.addresses[0]) as client:
        client.submit_background("f", b"", unique="u")
        servers.servers[0].text(f"fail job {servers.take()} broken".encode())
        client.submit_background("f", b"", unique="u")  # it has the key now
    assert servers.change("retry", servers.look("dead"), 5) == outcome(2, left=1, gone=2)


def test_waiting_jobs_are_cancelled_and_running_ones_stopped(servers: Servers) -> None:
    handles = servers.submit(5)
    assert servers.take() == handles[0]
    looked = servers.look("jobs")
    late = servers.submit(1)
    assert servers.matching.count(looked).of("stop") == 5
    assert servers.change("cancel", looked, servers.matching.count(looked).of("cancel")) == outcome(4)
    assert servers.listed("jobs") == [handles[0], *late]
    assert servers.change("cancel", servers.look("jobs", state="running"), 0) == outcome(0)
    assert servers.change("stop", servers.look("jobs", state="delayed"), 0) == outcome(0)
    assert servers.change("stop", servers.look("jobs", "function=f", state="running"), 1) == outcome(1)
    assert servers.change("stop", servers.look("jobs", "function=f"), 2) == outcome(1, gone=1)
    assert servers.matching.count(looked).of("stop") == 0


def test_jobs_are_counted_and_changed_by_text_unique_key_and_time(servers: Servers) -> None:
    servers.submit(2, workload=b"for Ann")
    other = servers.submit(1, workload=b"for Ann", server=1)
    while servers.matching.count(servers.look("jobs", "older=0.2")).by_state["waiting"] < 3:
        time.sleep(0.01)  # the clock of a server is known but for the time of an answer
    began = time.time()
    servers.submit(3, workload=b"for Bob")
    ann, late = servers.look("jobs", "text=ann"), servers.look("jobs", "text=for", f"since={began}")
    assert servers.matching.count(ann).by_state["waiting"] == 3
    assert servers.matching.count(late).by_state["waiting"] == 3
    early = servers.look("jobs", f"until={began}")
    assert servers.matching.count(early).of("cancel") == 3
    assert servers.matching.count(servers.look("jobs", "unique=none")).of("stop") == 0
    later = servers.submit(1, workload=b"for Ann")
    servers.jobs.cancel(other)
    assert servers.change("cancel", ann, 3) == outcome(2, gone=1)
    assert servers.change("stop", late, 3) == outcome(3)
    assert servers.found("jobs", text="for") == later


PRIVATE = b'{"name": "bob", "password": "hunter2"}'


def test_a_text_does_not_find_what_is_private(servers: Servers) -> None:
    servers.privacy.use(
        {"f": FunctionPrivacy(("password",)), "g": FunctionPrivacy(shows_workloads=False)}, FunctionPrivacy()
    )
    hidden, all_hidden = servers.submit(3, workload=PRIVATE), servers.submit(1, "g", workload=PRIVATE)
    plain = servers.submit(1, "h", workload=PRIVATE)
    everyone = servers.found("jobs")
    assert servers.found("jobs", text="HUNTER") == plain
    assert servers.found("jobs", text="Bob") == [*hidden, *plain]
    assert servers.found("jobs", text="bob", function="g") == []
    # Nor do the places where pages end tell of it.
    page = servers.jobs.page("jobs", {"text": "hunter2", "function": "f", "limit": "1"})
    assert (page["jobs"], page["next"]) == ([], {"server": str(servers.addresses[1])})
    page = servers.jobs.page("jobs", {"text": "bob", "limit": "2"})
    assert [row["handle"] for row in page["jobs"]] == hidden[:2]
    assert (page["looked"], page["of"]) == (everyone.index(hidden[1]) + 1, len(everyone))
    secret, known = servers.look("jobs", "text=hunter2"), servers.look("jobs", "text=bob")
    assert servers.matching.count(secret).by_state == {"waiting": 1}
    assert servers.take() == hidden[0]
    assert servers.matching.count(known).by_state == {"running": 1, "waiting": 3}
    assert servers.change("cancel", known, 3) == outcome(3)
    assert servers.change("stop", servers.look("jobs", "text=bob", "function=f"), 1) == outcome(1)
    assert servers.change("cancel", secret, 1) == outcome(0, gone=1)
    assert [handle for handle in servers.listed("jobs") if handle in all_hidden] == all_hidden


def test_nor_do_the_pages_of_very_many_jobs_tell_of_it(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that very many have, but where it is private, is like one that none has."""
    servers.privacy.use(
        {"f": FunctionPrivacy(("password",)), "g": FunctionPrivacy(shows_workloads=False)}, FunctionPrivacy()
    )
    servers.submit(PAGE_JOBS, workload=PRIVATE)
    servers.submit(PAGE_JOBS, "g", workload=PRIVATE)
    last = servers.submit(2, "h", workload=PRIVATE)

    def pages(text: str) -> list[tuple[list[str], tuple[int, int] | None]]:
        there_are, position = [], {"server": str(servers.addresses[0])}
        while position.get("server") == str(servers.addresses[0]):
            page = servers.jobs.page("jobs", {"text": text, "limit": "1", **position})
            looked = (page["looked"], page["of"]) if "looked" in page else None
            there_are.append(([row["handle"] for row in page["jobs"]], looked))
            position = page["next"] or {}
        return there_are

    of = servers.jobs.page("jobs", {"limit": "1"})["of"]  # with those of former tests that are being stopped
    empty: list[str] = []
    assert pages("hunter3") == [(empty, (PAGE_JOBS, of)), (empty, (2 * PAGE_JOBS, of)), (empty, None)]
    first_pages = pages("hunter3")[:2]
    assert pages("hunter2") == [*first_pages, ([last[0]], (of - 1, of)), ([last[1]], None)]
    assert servers.matching.count(servers.look("jobs", "text=hunter2")).by_state == {"waiting": 2}
    asked = {"text": "hunter2", "limit": "1"}
    assert [row["handle"] for row in found_jobs.find(servers.jobs, "jobs", asked)["jobs"]] == [last[0]]
    monkeypatch.setattr(found_jobs, "PATIENCE_S", 0.0)  # one page takes longer
    found = found_jobs.find(servers.jobs, "jobs", asked)
    assert (found["jobs"], found["looked"]) == ([], PAGE_JOBS)


def test_an_older_server_is_searched_to_the_end(servers: Servers) -> None:
    servers.privacy.use({}, FunctionPrivacy(("password",)))
    [handle] = servers.submit(1, workload=PRIVATE)

    class Old(socketserver.StreamRequestHandler):
        """Knows no `looks`."""

        def handle(self) -> None:
            for line in self.rfile:
                is_refused = b"looks=" in line or b"asleep" in line
                refusal = b"ERR INVALID_ARGUMENTS a+list+takes+conditions\r\n"
                self.wfile.write(refusal if is_refused else servers.servers[0].text(line.strip()))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as old:
        threading.Thread(target=old.serve_forever, daemon=True).start()
        address = Address("127.0.0.1", old.server_address[1])
        jobs = ServerJobs(lambda: [address], privacy=servers.privacy)
        assert [row["handle"] for row in jobs.page("jobs", {"text": "bob", "state": "waiting"})["jobs"]] == [handle]
        with pytest.raises(ManagerError, match="a list takes conditions"):
            jobs.page("jobs", {"text": "bob", "state": "asleep"})
        old.shutdown()


def test_a_list_that_the_server_has_forgotten_is_read_anew_before_anything_is_changed(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching_jobs, "_PAGE_LINES", 2)

    class Disturbed(Privacy):
        """Others begin lists while the manager looks at a job for the first time."""

        others = 5

        def of(self, function: str) -> FunctionPrivacy:
            while self.others:
                self.others -= 1
                servers.servers[0].text(b"jobs list limit=1")
            return super().of(function)

    privacy = Disturbed()
    privacy.use({}, FunctionPrivacy(("password",)))
    servers.submit(5, workload=PRIVATE)
    looked = servers.look("jobs", "text=bob")
    change = BulkChange("jobs cancel", "", 5)
    MatchingJobs(servers.jobs.servers, privacy).change("cancel", looked, change)
    assert (privacy.others, change.done, change.problems) == (0, 5, [])


def test_nor_do_letters_and_unique_keys(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.privacy.use({}, FunctionPrivacy(("password",)))
    letters = servers.bury(3, workload=PRIVATE)
    assert servers.found("dead", text="hunter2") == []
    assert servers.found("dead", text="bob", limit="2") == letters
    assert servers.change("retry", servers.look("dead", "text=hunter2"), 0) == outcome(0)
    looked = servers.look("dead", "text=bob")
    with monkeypatch.context() as few:
        few.setattr(matching_jobs, "MOST_JOBS", 2)
        for guess in (looked, servers.look("dead", "text=nobody")):  # whatever is found
            with pytest.raises(ManagerError, match="not looked for among 3 jobs"):
                servers.matching.count(guess)
    assert servers.matching.count(looked).of("drop") == 3
    assert servers.change("drop", looked, 3) == outcome(3)
    with servers.client(servers.addresses[0]) as client:
        client.submit_background("f", PRIVATE, unique="password=hunter2")
        known = client.submit_background("f", PRIVATE, unique="order 7")
    assert servers.found("jobs", unique="password=hunter2") == []
    assert servers.found("jobs", unique="order 7") == [known]


def test_a_moment_is_meant_by_the_clock_of_the_manager(servers: Servers) -> None:
    servers.submit(3)
    assert servers.matching.count(Matching("jobs", (), time.time() - 60)).of("cancel") == 0
    assert servers.matching.count(servers.look("jobs", "older=60")).of("cancel") == 0
    with pytest.raises(ManagerError, match="state= is waiting"):
        servers.matching.count(servers.look("jobs", state="asleep"))


def test_a_list_of_handles_may_be_longer_than_a_line(servers: Servers) -> None:
    handles = servers.bury(MANY)
    assert len(" ".join(handles)) > 2 * 8192
    assert servers.jobs.change_each("dead retry", handles) == MANY
    assert servers.jobs.change_each("dead retry", handles) == 0
    for wrong in ("all", "function=f", "H:x 1"):
        with pytest.raises(NotFound, match="is no handle"):
            list(command_lines("dead drop", [wrong]))


def test_a_server_that_does_not_answer_is_named_and_the_others_are_done(servers: Servers) -> None:
    servers.bury(2)
    away = Address("127.0.0.1", 1)
    both = MatchingJobs(ServerJobs(lambda: [away, *servers.addresses]).servers)
    looked = servers.look("dead")
    counts = both.count(looked)
    assert (counts.of("drop"), [str(away) in reason for reason in counts.missing]) == (2, [True])
    change = BulkChange("dead drop", "all", 2)
    both.change("drop", looked, change)
    assert (change.done, [str(away) in problem for problem in change.problems]) == (2, [True])
    with pytest.raises(Unreachable):
        MatchingJobs(ServerJobs(lambda: [away]).servers).count(looked)


def test_a_server_that_is_too_old_is_named(servers: Servers) -> None:
    class Old(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for _ in self.rfile:
                self.wfile.write(b"ERR INVALID_ARGUMENTS jobs+list,+jobs+show+or+jobs+purge+is+expected\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as old:
        threading.Thread(target=old.serve_forever, daemon=True).start()
        address = Address("127.0.0.1", old.server_address[1])
        counts = MatchingJobs(ServerJobs(lambda: [address, *servers.addresses]).servers).count(servers.look("jobs"))
        old.shutdown()
    [missing] = counts.missing
    assert missing.startswith(f"{address} is an older gearman-server")


def test_a_change_is_followed_to_its_end_and_remembered(servers: Servers) -> None:
    changes, told = BulkChanges(), list[Report]()
    servers.bury(3)

    def make(change: BulkChange) -> None:
        servers.matching.change("drop", servers.look("dead"), change)

    change = changes.start(BulkChange("dead drop", "all", 3), make, told.append)
    *_, last = changes.follow(change.id)
    assert (last["over"], last["done"], last["problems"]) == (True, 3, [])
    assert told == [last] == [changes.report(change.id)]
    with pytest.raises(NotFound):
        changes.report("x")


def test_one_of_very_many_jobs_tells_how_far_it_has_come(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_changes, "LOOK_S", 0.005)
    monkeypatch.setattr(matching_jobs, "LOOK_S", 0.005)
    changes, told = BulkChanges(), list[Report]()
    servers.submit(30_000)
    looked = servers.look("jobs")
    make = partial(servers.matching.change, "cancel", looked)
    change = changes.start(BulkChange("jobs cancel", "all", 30_000), make, told.append)
    reports = list(changes.follow(change.id))
    assert any(0 < report["done"] < 30_000 for report in reports[:-1])
    assert (reports[-1]["done"], reports[-1]["gone"]) == (30_000, 0)
    assert [report["id"] for report in changes.reports()] == [change.id]


def test_one_that_breaks_off_says_so_and_there_are_only_a_few_at_a_time() -> None:
    changes, told = BulkChanges(), list[Report]()

    def refuse(_change: BulkChange) -> None:
        raise ManagerError("not today")

    def begin(make: Callable[[BulkChange], None]) -> BulkChange:
        return changes.start(BulkChange("dead drop", "all", 1), make, told.append)

    begun = [begin(refuse) for _ in range(4)]
    with pytest.raises(NotNow):
        begin(refuse)
    for change in begun:
        *_, last = changes.follow(change.id)
        assert (last["problems"], last["gone"]) == (["not today"], 0)
    begin(refuse)
