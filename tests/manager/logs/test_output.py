"""A child's output over a real pipe: lines and records are logged, cut at a bound, and the last ones remembered."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import termios
from collections.abc import Callable, Iterator

import gevent
import pytest

from gearman_manager.ipc.child_log import RECORD_MARK
from gearman_manager.logs import output_budget
from gearman_manager.logs.lost_lines import LOST
from gearman_manager.logs.output import LAST_LINES, MAX_LINE_BYTES, MAX_REMEMBERED, ChildOutput
from gearman_manager.logs.output_budget import OutputBudget
from gearman_manager.logs.redaction import REDACTION
from gearman_manager.privacy import FunctionPrivacy

LOGGER = "a-pool"
DEADLINE_S = 10.0
INTEGER = struct.Struct("i")


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)


@pytest.fixture
def outputs() -> Iterator[Callable[..., ChildOutput]]:
    made: list[ChildOutput] = []

    def make(budget: OutputBudget | None = None, *, logs_json: bool = False) -> ChildOutput:
        made.append(ChildOutput(gevent.get_hub().loop, LOGGER, {"pool": "mail"}, budget, logs_json=logs_json))
        made[-1].follow()
        return made[-1]

    yield make
    for output in made:
        output.close()


@pytest.fixture
def output(outputs: Callable[..., ChildOutput]) -> ChildOutput:
    return outputs()


def write(output: ChildOutput, data: bytes) -> None:
    """Write as the child, and run the loop until the output is read."""
    os.write(output.write_end, data)
    until(lambda: _unread_bytes(output.write_end) == 0)


def until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(DEADLINE_S):
        while not condition():
            gevent.sleep(0.001)


def _unread_bytes(pipe: int) -> int:
    return int(INTEGER.unpack(fcntl.ioctl(pipe, termios.FIONREAD, bytes(INTEGER.size)))[0])


def record(**fields: object) -> bytes:
    return RECORD_MARK.encode() + json.dumps(fields).encode() + b"\n"


def test_each_line_is_logged_with_the_fields_of_its_child(
    output: ChildOutput, caplog: pytest.LogCaptureFixture
) -> None:
    write(output, b"one\r\ntwo \xff\n")
    assert [(r.levelname, r.getMessage(), r.__dict__["pool"]) for r in caplog.records] == [
        ("INFO", "one", "mail"),
        ("INFO", "two \\xff", "mail"),
    ]


def test_half_a_line_waits_for_the_other_half(output: ChildOutput, caplog: pytest.LogCaptureFixture) -> None:
    write(output, b"one ha")
    assert not caplog.records
    write(output, b"lf\n")
    assert caplog.messages == ["one half"]


def test_a_record_has_its_own_level_function_and_handle(output: ChildOutput, caplog: pytest.LogCaptureFixture) -> None:
    write(output, record(level="ERROR", message="it broke", function="mail", handle="H:1", other="x"))
    (logged,) = caplog.records
    assert (logged.levelname, logged.getMessage()) == ("ERROR", "it broke")
    assert (logged.__dict__["function"], logged.__dict__["handle"]) == ("mail", "H:1")
    assert "other" not in logged.__dict__


@pytest.mark.parametrize(
    "line", [b"\x1eno json", b'\x1e{"level": "INFO"}', b"\x1e[1]", b'{"level": "INFO", "message": "x"}']
)
def test_a_line_that_is_no_record_is_text(output: ChildOutput, caplog: pytest.LogCaptureFixture, line: bytes) -> None:
    write(output, line + b"\n")
    assert caplog.messages == [line.decode()]


def test_the_servers_json_lines_are_records_too(
    outputs: Callable[..., ChildOutput], caplog: pytest.LogCaptureFixture
) -> None:
    write(outputs(logs_json=True), b'{"level": "WARNING", "message": "the disk is full"}\n')
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "the disk is full")]


def test_an_endless_line_is_cut(output: ChildOutput, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        write(output, b"x" * (MAX_LINE_BYTES // 2))
    write(output, b"y\n")
    assert [len(message) for message in caplog.messages] == [MAX_LINE_BYTES // 2 * 3, 1]


def test_the_last_lines_are_remembered_each_in_part(output: ChildOutput) -> None:
    write(output, b"".join(b"%d" % number + b"." * 2 * MAX_REMEMBERED + b"\n" for number in range(LAST_LINES + 2)))
    assert [line[:2].rstrip(".") for line in output.last_lines] == [str(n) for n in range(2, LAST_LINES + 2)]
    assert {len(line) for line in output.last_lines} == {MAX_REMEMBERED}


def test_the_last_lines_of_a_record_are_remembered(output: ChildOutput) -> None:
    write(output, record(level="ERROR", message="Traceback\n  in a file\nValueError: no"))
    assert output.last_lines == ["Traceback", "  in a file", "ValueError: no"]


def test_output_beyond_the_budget_is_dropped_and_counted(
    outputs: Callable[..., ChildOutput], caplog: pytest.LogCaptureFixture
) -> None:
    output, before = outputs(OutputBudget(bytes_per_s=200)), LOST.over_budget
    write(output, b"fits 1\nfits 2\nfits 3\nnot 4\n")
    write(output, b"not 5\nnot 6\nhalf")
    assert caplog.messages == ["fits 1", "fits 2", "fits 3"]
    assert output.last_lines[-2:] == ["not 4", "not 6"]
    output.close()
    assert "4 lines" in caplog.messages[-1]  # including the half one
    assert LOST.over_budget == before + 4
    assert "dropped" in caplog.messages[-1]


def test_dropped_output_is_reported_while_the_child_still_runs(
    outputs: Callable[..., ChildOutput], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gearman_manager.logs.output.WINDOW_S", 0.01)
    write(outputs(OutputBudget(bytes_per_s=0)), b"too much\n")
    assert not caplog.records
    until(lambda: caplog.records)
    assert caplog.messages[0].startswith("1 lines (9 bytes)")


def test_unread_output_is_read_at_the_close(output: ChildOutput, caplog: pytest.LogCaptureFixture) -> None:
    os.write(output.write_end, b"the last line\nand half of one")
    output.close()
    assert caplog.messages == ["the last line", "and half of one"]
    output.close()
    assert output.last_lines == ["the last line", "and half of one"]


def test_the_end_of_the_child_ends_the_reading(output: ChildOutput) -> None:
    os.write(output.write_end, b"bye\n")
    output.handed_over()
    until(lambda: output._read_end == -1)
    assert output.last_lines == ["bye"]


@pytest.fixture
def _rules() -> Iterator[None]:
    REDACTION.privacy.use({}, FunctionPrivacy(("password",)))
    yield
    REDACTION.privacy.use({}, FunctionPrivacy())


@pytest.mark.usefixtures("_rules")
def test_while_rules_hold_one_read_takes_a_few_lines_and_the_end_all(
    output: ChildOutput, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_budget, "MOST_REDACTION_S", 1000.0)
    os.write(output.write_end, b"password=x\n" * 5000)
    output._readable()
    assert 0 < len(caplog.messages) < 400
    output.close()
    assert caplog.messages == ["password=[redacted]"] * 5000


@pytest.mark.usefixtures("_rules")
def test_redaction_has_a_bounded_time(
    output: ChildOutput, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_budget, "MOST_REDACTION_S", 1e-9)
    write(output, b"password=x\n" * 3)
    output.close()
    first, account = caplog.messages
    assert first == "password=[redacted]"
    assert account.startswith(
        "2 lines (22 bytes) of its output were dropped: more than 1000000 bytes a second, or more"
    )
    assert output.last_lines == ["password=[redacted]"] * 3


def test_what_a_child_writes_before_its_pid_is_known_is_logged_with_the_pid(caplog: pytest.LogCaptureFixture) -> None:
    output = ChildOutput(gevent.get_hub().loop, LOGGER, {"pool": "mail"})
    os.write(output.write_end, b"early\n")
    gevent.sleep(0.01)  # turns of the loop
    assert caplog.records == []
    output.follow(812)
    until(lambda: _unread_bytes(output.write_end) == 0)
    output.close()
    [record] = caplog.records
    assert (record.getMessage(), record.__dict__["pid"]) == ("early", 812)
