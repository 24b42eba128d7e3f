"""The text commands about jobs that failed for good: lists in pages, trying again, permissions, mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.packet import PacketType
from gearman_server.jobs.access import THIS_MACHINE
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.text_commands import listings
from gearman_server.text_commands.listings import PATIENCE_S

from ..broker_harness import BrokerHarness
from ..dead_jobs import kill, listed

# --- lists


def test_a_list_can_be_limited_to_a_function_and_an_age(broker: BrokerHarness) -> None:
    first = kill(broker, b"f")
    broker.advance(100)
    second, third = kill(broker, b"a b"), kill(broker, b"f")
    assert listed(broker, b"function=f") == [first, third]
    assert listed(broker, b"function=a%20b") == [second]
    assert listed(broker, b"older=99") == [first]
    assert listed(broker, b"function=f older=101") == []


def test_a_long_list_has_pages_and_survives_changes_between_them(broker: BrokerHarness) -> None:
    handles = [kill(broker) for _ in range(25)]
    operator = broker.peer()
    rows = operator.text(b"dead list limit=10").split(b"\n")[:-2]
    assert [row.split(b"\t")[0] for row in rows[:-1]] == handles[:10]
    cursor = rows[-1].split(b"\t")[1]
    operator.text(b"dead drop " + b" ".join(handles[5:12]))
    kill(broker)
    rows = operator.text(b"dead list limit=100 after=" + cursor).split(b"\n")[:-2]
    assert [row.split(b"\t")[0] for row in rows] == handles[12:]


def test_a_cursor_expires(broker: BrokerHarness) -> None:
    for _ in range(3):
        kill(broker)
    operator = broker.peer()
    cursor = operator.text(b"dead list limit=1").split(b"\t")[-1].split(b"\n")[0]
    broker.advance(PATIENCE_S + 1)
    assert operator.text(b"dead list after=" + cursor).startswith(b"ERR UNKNOWN_CURSOR ")
    assert operator.text(b"dead list after=1.x").startswith(b"ERR UNKNOWN_CURSOR ")


def test_only_a_few_unfinished_lists_are_remembered(broker: BrokerHarness) -> None:
    for _ in range(3):
        kill(broker)
    operator = broker.peer()
    cursors = [operator.text(b"dead list limit=1").split(b"\t")[-1].split(b"\n")[0] for _ in range(5)]
    assert operator.text(b"dead list after=" + cursors[0]).startswith(b"ERR UNKNOWN_CURSOR ")
    assert operator.text(b"dead list after=" + cursors[4]).count(b"\n") == 3


def test_the_search_for_a_page_is_limited_so_a_page_may_be_empty(
    broker: BrokerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MAX_LOOKS", 5)
    for number in range(7):
        kill(broker, b"f" if number else b"g")
    answer = broker.peer().text(b"dead list function=h")
    assert answer == b"next\t1.5.7\n.\n"
    assert len(listed(broker, b"function=g")) == 1
    assert listed(broker, b"function=h") == []


def test_letters_are_found_by_text_unique_key_and_time_of_death(broker: BrokerHarness) -> None:
    first = kill(broker, workload=b"for Ann")
    broker.advance(10)
    begin = broker.unix_time
    second = kill(broker, unique=b"u", error=b"Ann is away")
    assert listed(broker, b"text=ann") == [first, second]
    assert listed(broker, b"text=ann%20is") == listed(broker, b"unique=u") == [second]
    assert listed(broker, b"since=%f" % begin) == [second]
    assert listed(broker, b"until=%f" % (begin - 1)) == [first]
    operator = broker.peer()
    assert operator.text(b"dead count text=ann since=%f" % begin) == b"dead\t1\n.\n"
    assert operator.text(b"dead retry unique=u") == b"OK 1\n"
    assert operator.text(b"dead drop text=ann") == b"OK 1\n"


# --- trying again


def test_a_dead_job_is_tried_again_under_its_handle_as_if_for_the_first_time(
    make_broker: Callable[..., BrokerHarness],
) -> None:
    broker = make_broker()
    broker.broker.use_policies({b"f": FunctionPolicy(retries=1, backoff_s=0)})
    client, worker = broker.peer(), broker.worker(b"f")
    handle = client.submit(b"f", b"load", b"u", "SUBMIT_JOB_HIGH_BG")
    for _ in range(2):
        assert worker.grab() == handle
        worker.send(PacketType.WORK_FAIL, handle)
    worker.send(PacketType.PRE_SLEEP)
    assert client.text(b"dead retry " + handle) == b"OK 1\n"
    assert listed(broker) == []
    assert worker.take() == [(PacketType.NOOP, b"")]
    assert client.submit(b"f", b"load", b"u", "SUBMIT_JOB_BG") == handle
    worker.ask(PacketType.OPTION_REQ, b"job-attempt")
    [(_, body)] = worker.ask(PacketType.GRAB_JOB_UNIQ)
    assert body == b"\0".join((handle, b"f", b"u", b"1", b"load"))
    worker.send(PacketType.WORK_FAIL, handle)
    assert worker.grab() == handle
    worker.send(PacketType.WORK_FAIL, handle)
    assert listed(broker) == [handle]


def test_a_dead_job_whose_unique_key_another_job_has_is_not_tried_again(broker: BrokerHarness) -> None:
    handle = kill(broker, unique=b"u")
    other = broker.peer().submit(b"f", unique=b"u")
    assert broker.peer().text(b"dead retry " + handle) == b"OK 0\n"
    assert listed(broker) == [handle]
    broker.peer().text(b"cancel job " + other)
    assert broker.peer().text(b"dead retry " + handle) == b"OK 1\n"


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_many_letters_are_chosen_by_function_by_age_or_all(broker: BrokerHarness, command: bytes) -> None:
    old = [kill(broker, b"f"), kill(broker, b"g")]
    broker.advance(100)
    young = [kill(broker, b"f"), kill(broker, b"g")]
    operator = broker.peer()
    assert operator.text(b"dead " + command + b" function=f older=50") == b"OK 1\n"
    assert listed(broker) == [old[1], *young]
    assert operator.text(b"dead " + command + b" function=g") == b"OK 2\n"
    assert operator.text(b"dead " + command + b" all") == b"OK 1\n"
    assert operator.text(b"dead " + command + b" all") == b"OK 0\n"
    assert sum(broker.status(name)[0] for name in (b"f", b"g")) == (4 if command == b"retry" else 0)


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_of_given_letters_those_are_changed_that_meet_the_conditions_too(broker: BrokerHarness, command: bytes) -> None:
    one, other = kill(broker, workload=b"for Ann"), kill(broker, b"g")
    line = b"dead %s %s %s H:gone:1 " % (command, one, other)
    assert broker.peer().text(line + b"text=nothing") == broker.peer().text(line + b"older=1") == b"OK 0\n"
    assert broker.peer().text(line + b"text=ann") == b"OK 1\n"
    assert listed(broker) == [other]


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_letters_that_came_after_a_moment_are_neither_counted_nor_changed(
    broker: BrokerHarness, command: bytes
) -> None:
    early, again = kill(broker, b"f"), kill(broker, b"f")
    operator = broker.peer()
    moment = operator.text(b"jobs clock").split()[1]
    assert float(moment) == broker.unix_time
    broker.advance(0.001)
    late = kill(broker, b"f")
    assert operator.text(b"dead retry " + again) == b"OK 1\n"
    worker = broker.worker(b"f")
    assert worker.grab() == again
    worker.send(PacketType.WORK_FAIL, again)  # it died before the moment, and once more after it
    worker.leave()
    assert operator.text(b"dead count") == b"dead\t3\n.\n"
    assert operator.text(b"dead count function=f until=" + moment) == b"dead\t1\n.\n"
    assert listed(broker, b"until=" + moment) == [early]
    assert operator.text(b"dead " + command + b" all until=" + moment) == b"OK 1\n"
    assert listed(broker) == [late, again]


def test_very_many_letters_are_changed_a_few_at_a_time_and_the_answer_comes_at_the_end(broker: BrokerHarness) -> None:
    for _ in range(1200):
        kill(broker)
    operator, other = broker.peer(), broker.peer()
    operator.begin((0, b"dead retry all"), (0, b"version"))
    assert operator.take_bytes() == b""
    assert other.text(b"version") == b"OK 1.2.3\n"
    assert 0 < broker.status(b"f")[0] < 1200
    broker.do_chores()
    operator.have_turns()
    assert operator.take_bytes() == b"OK 1200\nOK 1.2.3\n"
    assert broker.status(b"f")[0] == 1200


def test_the_search_among_very_many_letters_holds_nobody_up(broker: BrokerHarness) -> None:
    for number in range(1200):
        kill(broker, b"f" if number else b"g")
    operator, other = broker.peer(), broker.peer()
    operator.begin((0, b"dead drop function=g"))
    assert operator.take_bytes() == b""
    assert other.text(b"version") == b"OK 1.2.3\n"
    broker.do_chores()
    operator.have_turns()
    assert operator.take_bytes() == b"OK 1\n"
    operator.begin((0, b"dead count function=f"))
    assert other.text(b"version") == b"OK 1.2.3\n"
    assert operator.take_bytes() == b""
    broker.do_chores()
    operator.have_turns()
    assert operator.take_bytes() == b"dead\t1199\n.\n"


def test_a_change_goes_on_when_the_operator_leaves_before_the_answer(broker: BrokerHarness) -> None:
    for _ in range(1200):
        kill(broker)
    operator = broker.peer()
    operator.begin((0, b"dead drop all"))
    operator.leave()
    assert listed(broker) != []
    broker.do_chores()
    assert listed(broker) == []


# --- permissions and mistakes


@pytest.mark.parametrize("command", [b"retry", b"drop"])
def test_only_administrators_can_change_letters(make_broker: Callable[..., BrokerHarness], command: bytes) -> None:
    broker = make_broker(admin_allow=THIS_MACHINE)
    handle = kill(broker)
    assert broker.peer().text(b"dead " + command + b" " + handle).startswith(b"ERR NOT_ALLOWED ")
    assert listed(broker) == [handle]
    assert broker.peer("127.0.0.1").text(b"dead " + command + b" " + handle) == b"OK 1\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"dead", b"INVALID_ARGUMENTS"),
        (b"dead rise", b"INVALID_ARGUMENTS"),
        (b"dead list H:x:1", b"INVALID_ARGUMENTS"),
        (b"dead list limit=many", b"INVALID_ARGUMENTS"),
        (b"dead list older=-1", b"INVALID_ARGUMENTS"),
        (b"dead list older=nan", b"INVALID_ARGUMENTS"),
        (b"dead list state=running", b"INVALID_ARGUMENTS"),
        (b"dead show", b"UNKNOWN_JOB"),
        (b"dead show H:x:1", b"UNKNOWN_JOB"),
        (b"dead retry", b"INVALID_ARGUMENTS"),
        (b"dead drop limit=3", b"INVALID_ARGUMENTS"),
        (b"dead drop until=3", b"INVALID_ARGUMENTS"),
        (b"dead drop all until=soon", b"INVALID_ARGUMENTS"),
        (b"dead count all", b"INVALID_ARGUMENTS"),
    ],
)
def test_mistakes_are_named(broker: BrokerHarness, line: bytes, code: bytes) -> None:
    answer = broker.peer().text(line)
    assert answer.startswith(b"ERR " + code + b" ")
    assert answer.endswith(b"\r\n")
    assert b" " not in answer.removeprefix(b"ERR " + code + b" ")


def test_unknown_handles_are_not_counted(broker: BrokerHarness) -> None:
    assert broker.peer().text(b"dead drop H:x:1 H:x:2 H:x:3 H:x:4") == b"OK 0\n"
