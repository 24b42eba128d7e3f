"""Finished jobs are run again at a real job server, or it is said why not."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gearman_client import Address, Client
from gearman_client.packet import HEADER, PacketType, encode_response
from gearman_manager.control.all_that_match import AllThatMatch
from gearman_manager.control.bulk_changes import BulkChange, BulkChanges
from gearman_manager.control.matching_jobs import MatchingJobs
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.submissions import Submissions
from gearman_manager.errors import NotFound, NotNow, Unreachable
from gearman_manager.finished.again import MOST_PROBLEMS, WHAT, RunAgain
from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.obstacles import Obstacle
from gearman_manager.finished.search import Wanted
from gearman_manager.history.action_log import ActionLog
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.history.recording import utc

from ...server.server_process import ServerProcess
from .conftest import SERVER, attempt

Again = Callable[[Address], RunAgain]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    running = ServerProcess("-L", "127.0.0.1")
    yield running
    running.stop()


@pytest.fixture
def again(keeper: Keeper, tmp_path: Path) -> Again:
    """Runs the keeper's jobs again at that address."""

    def make(address: Address) -> RunAgain:
        jobs = ServerJobs(lambda: [address])
        every = AllThatMatch(MatchingJobs(jobs.servers), BulkChanges(), ActionLog(HistoryFile(tmp_path / "history.db")))
        return RunAgain(keeper, Submissions(lambda: [address]), every)

    return make


def keep(keeper: Keeper, *ends: dict[str, Any]) -> None:
    """Keep these ends; those of the same number are ends of one job."""
    keeper.keep([attempt(**end) for end in ends], SERVER, "r1.1")


def all_of(again: RunAgain, function: str) -> BulkChange:
    """What has become of all jobs of a function."""
    wanted = Wanted(function=function)
    look = again.look(wanted)
    change = BulkChange(WHAT, "all", look.found)
    again.run_all(wanted, look.mark, change)
    return change


def handles(*numbers: int) -> Sequence[str]:
    return [f"H:test:{number}" for number in numbers]


def test_it_is_said_of_each_job_that_is_left_why(server: ServerProcess, keeper: Keeper, again: Again) -> None:
    keep(
        keeper,
        {"number": 1, "function": "why", "is_whole": False, "follows": "dead"},
        {"number": 1, "function": "why"},
        {"number": 2, "function": "why", "follows": "retry"},
        {"number": 3, "function": "why", "unique": "caf\ufffd"},
        {"number": 4, "function": "why", "is_whole": False},
    )
    here = again(Address("127.0.0.1", server.port))
    outcome = here.run(handles(1, 2, 3, 4, 5, 1))
    assert (len(outcome.handles), outcome.left) == (1, 4)
    assert outcome.problems == [
        f"H:test:2: {Obstacle.NOT_OVER}",
        f"H:test:3: {Obstacle.NO_TEXT}",
        f"H:test:4: {Obstacle.CUT}",
        "H:test:5: nothing is kept of it",
    ]
    with pytest.raises(NotFound):
        here.run(handles(5))
    change = all_of(here, "why")
    assert (change.expected, change.done, change.left, change.problems) == (3, 1, 2, [])


def test_a_job_whose_unique_key_still_belongs_to_one_that_has_ended_is_left(
    server: ServerProcess, keeper: Keeper, again: Again
) -> None:
    with Client(server.address) as client:
        ended = str(client.submit_background("once", b"w", unique="u", unique_for="1h"))
    worker = server.peer()
    worker.send(PacketType.CAN_DO, b"once")
    worker.ask(PacketType.GRAB_JOB)
    worker.send(PacketType.WORK_COMPLETE, ended.encode(), b"")
    worker.sync()
    keep(keeper, {"function": "once", "unique": "u", "handle": ended})
    here = again(Address("127.0.0.1", server.port))
    outcome = here.run([ended])
    problem = f"{ended}: its unique key still belongs to {ended}, which has ended"
    assert (outcome.handles, outcome.left, outcome.problems) == ([], 1, [problem])
    change = all_of(here, "once")
    assert (change.done, change.left, change.problems) == (0, 1, [])


def test_what_the_server_refuses_is_told_and_the_others_are_run(
    server: ServerProcess, keeper: Keeper, again: Again
) -> None:
    server.text(b"create function full")
    assert server.text(b"maxqueue full 2").startswith(b"OK")
    count = MOST_PROBLEMS + 3
    keep(keeper, *({"number": number, "function": "full"} for number in range(1, count + 1)))
    here = again(Address("127.0.0.1", server.port))
    outcome = here.run(handles(1, 2, 3))
    assert (len(outcome.handles), outcome.left) == (2, 1)
    assert [problem.startswith("H:test:3: the job server") for problem in outcome.problems] == [True]
    with pytest.raises(NotNow):
        here.run(handles(3))
    change = all_of(here, "full")
    assert (change.done, change.left, len(change.problems)) == (0, 0, MOST_PROBLEMS + 1)
    assert change.problems[-1] == "and 3 more"


def test_after_a_server_that_does_not_answer_no_other_job_is_tried(keeper: Keeper, again: Again) -> None:
    class AnswersOnce(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for answer in (encode_response(PacketType.JOB_CREATED, b"H:new:1"), b""):
                _, _, length = HEADER.unpack(self.rfile.read(HEADER.size))
                self.rfile.read(length)
                self.wfile.write(answer)

    began = time.time() - 60
    keep(keeper, *({"number": number, "at": began + number} for number in range(1, 4)))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), AnswersOnce) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        here = again(Address("127.0.0.1", one.server_address[1]))
        outcome = here.run(handles(1, 2, 3))
        change = all_of(here, "f")
        one.shutdown()
    assert (outcome.handles, outcome.left, len(outcome.problems)) == (["H:new:1"], 2, 1)
    assert (change.done, len(change.problems)) == (1, 1)
    assert change.problems[0].startswith("H:test:2: ")
    assert change.problems[0].endswith(f"those that ended since {utc(began + 2)} are not run again")
    with pytest.raises(Unreachable):
        again(Address("127.0.0.1", 1)).run(handles(1))
