"""`pause function` and `resume function`: jobs are accepted and wait, whoever could do them; running ones go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType
from gearman_server.broker_settings import BrokerSettings
from gearman_server.jobs.access import AccessList
from gearman_server.jobs.events import FunctionPaused, FunctionResumed
from gearman_server.jobs.functions import MAX_FUNCTION_BYTES
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.store import MemoryStore, PausesKnown

from ..broker_harness import UNIX_TIME, BrokerHarness, DurableBroker

OK = b"OK\r\n"
F = b"f"


def pause(broker: BrokerHarness, function: bytes = F) -> None:
    assert broker.peer().text(b"pause function " + function) == OK


def resume(broker: BrokerHarness, function: bytes = F) -> None:
    assert broker.peer().text(b"resume function " + function) == OK


@pytest.mark.parametrize("kind", ["SUBMIT_JOB", "SUBMIT_JOB_HIGH_BG"])
def test_jobs_of_a_paused_function_are_accepted_and_wait(broker: BrokerHarness, kind: str) -> None:
    worker, client = broker.worker(F, b"g"), broker.peer()
    pause(broker)
    handle = client.submit(F, kind=kind)
    other = client.submit(b"g")
    assert worker.grab() == other
    assert worker.grab() is None
    resume(broker)
    assert worker.grab() == handle


def test_a_running_job_of_a_paused_function_goes_on_and_its_retry_waits(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(retries=1, backoff_s=0.0)
    worker, client = broker.worker(F), broker.peer()
    first, second = client.submit(F), client.submit(F)
    other_worker = broker.worker(F)
    assert (worker.grab(), other_worker.grab()) == (first, second)
    pause(broker)
    worker.send(PacketType.WORK_COMPLETE, first, b"r")
    assert client.take() == [(PacketType.WORK_COMPLETE, first + b"\0r")]
    other_worker.send(PacketType.WORK_FAIL, second)
    assert other_worker.grab() is None
    resume(broker)
    assert other_worker.grab() == second


def test_sleepers_are_woken_when_it_is_resumed_and_not_before(broker: BrokerHarness) -> None:
    workers = [broker.worker(F) for _ in range(3)]
    for worker in workers:
        worker.ask(PacketType.PRE_SLEEP)
    pause(broker)
    for _ in range(2):
        broker.peer().submit(F, kind="SUBMIT_JOB_BG")
    broker.advance(10.0)
    assert [worker.take() for worker in workers] == [[], [], []]
    resume(broker)
    assert [worker.take() for worker in workers] == [[(PacketType.NOOP, b"")], [(PacketType.NOOP, b"")], []]


def test_a_worker_that_was_already_woken_finds_nothing_and_is_woken_again(broker: BrokerHarness) -> None:
    worker = broker.worker(F)
    worker.ask(PacketType.PRE_SLEEP)
    handle = broker.peer().submit(F)
    assert worker.take() == [(PacketType.NOOP, b"")]
    pause(broker)
    assert worker.grab() is None
    assert worker.ask(PacketType.PRE_SLEEP) == []
    resume(broker)
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert worker.grab() == handle


def test_the_limits_of_its_policy_hold_before_during_and_after_a_pause(
    broker_with: Callable[..., BrokerHarness],
) -> None:
    broker = broker_with(max_running=1)
    worker, client = broker.worker(F), broker.peer()
    first, second = client.submit(F), client.submit(F)
    assert worker.grab() == first
    pause(broker)
    broker.broker.use_policies({F: FunctionPolicy(max_running=2)})
    assert worker.grab() is None  # a file that is read again ends no pause
    resume(broker)
    assert worker.grab() == second
    client.submit(F)
    assert worker.grab() is None


def test_watchers_of_the_queues_hear_that_none_of_its_jobs_can_start(broker: BrokerHarness) -> None:
    watcher = broker.peer()
    broker.peer().submit(F, kind="SUBMIT_JOB_BG")
    watcher.ask(PacketType.OPTION_REQ, b"queue-events")
    seen, paused = [], b"%d" % (1000 * UNIX_TIME)
    for act in (pause, resume):
        act(broker)
        broker.advance(0.1)
        broker.do_chores()
        seen += [body for _, body in watcher.take()]
    held, free = (F, b"0", b"0", b"0", b"1", paused, b"0", b"0", b"0"), (F, b"1", b"0", b"0", b"1")
    assert [tuple(body.split(b"\0")) for body in seen] == [held, free]


def test_a_function_can_be_paused_before_anybody_names_it(broker: BrokerHarness) -> None:
    pause(broker, b"new")
    worker = broker.worker(b"new")
    broker.peer().submit(b"new")
    assert worker.grab() is None
    assert broker.peer().text(b"holds") == b"new\tpaused\t%.3f\t-\n.\n" % UNIX_TIME


def test_holds_says_since_when_and_pausing_again_changes_nothing(broker: BrokerHarness) -> None:
    pause(broker)
    broker.advance(60.0)
    pause(broker)
    pause(broker, b"a\\b")
    expected = b"f\tpaused\t%.3f\t-\n" % UNIX_TIME + b"a\\x5cb\tpaused\t%.3f\t-\n.\n" % (UNIX_TIME + 60)
    assert broker.peer().text(b"holds") == expected
    resume(broker)
    resume(broker, b"a\\b")
    assert broker.peer().text(b"holds") == b".\n"


def test_dropping_a_function_ends_its_pause(broker: BrokerHarness) -> None:
    pause(broker)
    assert broker.peer().text(b"drop function f") == OK
    worker = broker.worker(F)
    handle = broker.peer().submit(F)
    assert worker.grab() == handle


def test_a_paused_function_is_not_forgotten_among_very_many(
    broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearman_server.jobs.functions.MANY_FUNCTIONS", 2)
    pause(broker)
    for name in (b"a", b"b", b"c"):
        broker.peer().text(b"create function " + name)
    assert broker.peer().text(b"holds").startswith(b"f\tpaused\t")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"pause", b"ERR INVALID_ARGUMENTS pause+function+NAME+or+resume+function+NAME+is+expected\r\n"),
        (b"pause f", b"ERR INVALID_ARGUMENTS pause+function+NAME+or+resume+function+NAME+is+expected\r\n"),
        (b"resume function", b"ERR INVALID_ARGUMENTS pause+function+NAME+or+resume+function+NAME+is+expected\r\n"),
        (b"resume function f", b"ERR UNKNOWN_FUNCTION There+is+no+such+function\r\n"),
        (b"pause function a\x01", b"ERR INVALID_FUNCTION_NAME The+function+name+holds+a+control+character\r\n"),
        (b"pause function " + b"x" * (MAX_FUNCTION_BYTES + 1), b"ERR ARGUMENT_TOO_LARGE Function+name+too+large\r\n"),
    ],
)
def test_a_mistake_in_the_command_is_named(broker: BrokerHarness, line: bytes, answer: bytes) -> None:
    assert broker.peer().text(line) == answer


def test_only_administrators_may_pause_and_resume(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(admin_allow=AccessList.of(["192.0.2.7"]))
    administrator, other = broker.peer("192.0.2.7"), broker.peer("192.0.2.8")
    assert administrator.text(b"pause function f") == OK
    for command in (b"pause function g", b"resume function f"):
        assert other.text(command).startswith(b"ERR NOT_ALLOWED ")
    assert other.text(b"holds").startswith(b"f\tpaused\t")


def test_the_log_hears_who_has_paused_and_resumed_it(broker: BrokerHarness) -> None:
    heard: list[object] = []
    broker.broker.events.subscribe(heard.append, FunctionPaused, FunctionResumed)
    for act in (pause, pause, resume, resume):
        act(broker)
    assert [type(event) for event in heard] == [FunctionPaused, FunctionResumed]


# --- durable


def known(broker: DurableBroker, *, are_written: bool) -> None:
    """The batch with all that the store was told is committed, or has failed."""
    pauses, broker.store.pauses = broker.store.pauses, {}
    broker.tell(PausesKnown(pauses, are_written))


def test_the_answer_waits_until_the_pause_is_written_but_the_pause_does_not(durable: DurableBroker) -> None:
    operator, worker = durable.peer(), durable.worker(F)
    assert operator.text(b"pause function f") == b""
    durable.peer().submit(F)
    assert worker.grab() is None
    assert durable.store.pauses == {F: UNIX_TIME}
    known(durable, are_written=True)
    assert operator.take_bytes() == OK
    assert operator.text(b"pause function f") == OK


def test_the_answer_says_that_it_could_not_be_written_and_the_pause_holds_all_the_same(durable: DurableBroker) -> None:
    operator, worker = durable.peer(), durable.worker(F)
    operator.text(b"pause function f")
    known(durable, are_written=False)
    assert operator.take_bytes().startswith(b"ERR NOT_STORED It+is+done,+but+the+store+can't+be+written")
    durable.peer().submit(F)
    assert worker.grab() is None
    assert operator.text(b"pause function f") == b""  # it is still not written
    durable.tell(PausesKnown({F: UNIX_TIME}, are_written=True))
    assert operator.take_bytes() == OK


def test_each_command_is_answered_by_the_batch_that_has_written_it(durable: DurableBroker) -> None:
    first, second, third = durable.peer(), durable.peer(), durable.peer()
    first.text(b"pause function f")
    batch, durable.store.pauses = durable.store.pauses, {}
    second.text(b"resume function f")
    durable.advance(1.0)
    third.text(b"pause function f")  # it replaces the one before in the second batch
    durable.tell(PausesKnown(batch, are_written=True))
    assert (first.take_bytes(), second.take_bytes(), third.take_bytes()) == (OK, b"", b"")
    known(durable, are_written=True)
    assert (second.take_bytes(), third.take_bytes()) == (OK, OK)
    assert durable.peer().text(b"pause function f") == OK


def test_a_restored_pause_holds_from_the_first_worker_on() -> None:
    broker = BrokerHarness(BrokerSettings(handle_prefix=b"H:test"), MemoryStore())
    broker.broker.pauses.restore({F: UNIX_TIME - 60})
    worker = broker.worker(F)
    broker.peer().submit(F)
    assert worker.grab() is None
    assert broker.peer().text(b"holds") == b"f\tpaused\t%.3f\t-\n.\n" % (UNIX_TIME - 60)
