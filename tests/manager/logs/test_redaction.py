"""Lines of the log without what is private: of children, and tracebacks of our own."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Iterator

import gevent
import pytest

from gearman_manager.ipc.child_log import RECORD_MARK
from gearman_manager.logs.output import ChildOutput
from gearman_manager.logs.redaction import REDACTION, Redaction
from gearman_manager.privacy import FunctionPrivacy, Privacy

RULES = FunctionPrivacy(("mail", "password"))


@pytest.fixture
def private() -> Iterator[None]:
    before = REDACTION.privacy
    REDACTION.privacy = Privacy()
    REDACTION.privacy.use({}, RULES)
    yield
    REDACTION.privacy = before


@pytest.fixture
def said(private: None, caplog: pytest.LogCaptureFixture) -> Callable[..., tuple[list[str], list[str]]]:
    """Has a child write these lines; returns the lines of the log, and those that are remembered."""
    caplog.set_level(logging.DEBUG, "a-pool")

    def say(*lines: str, logs_json: bool = False) -> tuple[list[str], list[str]]:
        output = ChildOutput(gevent.get_hub().loop, "a-pool", {}, logs_json=logs_json)
        os.write(output.write_end, "".join(f"{line}\n" for line in lines).encode())
        output.close()
        return caplog.messages, output.last_lines

    return say


def test_lines_and_records_of_children_are_clean_and_so_are_their_last_words(
    said: Callable[..., tuple[list[str], list[str]]],
) -> None:
    record = {"level": "ERROR", "message": "failed\nKeyError: {'password': 'x'}", "function": "f", "handle": "H:1"}
    logged, last = said("password=x", "all is well", RECORD_MARK + json.dumps(record))
    assert logged == ["password=[redacted]", "all is well", "failed\nKeyError: {'password': '[redacted]'}"]
    assert last == ["password=[redacted]", "all is well", "failed", "KeyError: {'password': '[redacted]'}"]


def test_a_function_with_the_name_of_a_key_hides_no_line_of_the_job_server(
    said: Callable[..., tuple[list[str], list[str]]],
) -> None:
    begin = "job H:1 of mail: failed for good, attempts: 1; "
    fields = {"level": "ERROR", "function": "mail", "handle": "H:1"}
    of_worker = {**fields, "message": "password=x job H:1 of mail: y"}
    logged, _ = said(json.dumps({**fields, "message": begin + "no password=x"}), json.dumps(of_worker), logs_json=True)
    assert logged == [begin + "no password=[redacted]", "password=[redacted] H:1 of mail: [redacted]"]


@pytest.mark.parametrize("arguments", [(), ("mail", 3)])
def test_of_our_own_lines_tracebacks_are_clean_and_sentences_stay(arguments: tuple[object, ...]) -> None:
    log, stream = logging.Logger("own"), io.StringIO()
    handlers = [logging.StreamHandler(stream), logging.StreamHandler(stream)]
    redaction = Redaction()
    redaction.privacy.use({}, RULES)
    for handler in handlers:
        handler.addFilter(redaction)
        log.addHandler(handler)
    try:
        raise ValueError("100 % of {'password': 'x'}")
    except ValueError:
        log.exception("pool %s: %d workers" if arguments else "pool mail: 100 %", *arguments)
    first = "pool mail: 3 workers" if arguments else "pool mail: 100 %"
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        *(first, "Traceback (most recent call last):", "ValueError: 100 % of {'password': '[redacted]'}"),
        *(first, "Traceback (most recent call last):", "ValueError: 100 % of {'password': '[redacted]'}"),
    ]
