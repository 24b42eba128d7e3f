"""A server's answer to `jobs finished`, as values."""

from __future__ import annotations

import pytest

from gearman_client import AdminError
from gearman_manager.finished.attempt import attempts_of, read_page

LINE = b"\t".join(
    (
        *(b"7", b"1700000007.500", b"H:box:1", b"se\\x09nd", b"u", b"high", b"1", b"exception", b"retry", b"2"),
        *(b"1700000000.000", b"1700000006.000", b"box/send/1", b"192.0.2.7", b"no: \\xc3\\x28", b"File\\x0a  boom"),
        *(b"900", b"\\x00w", b"", b"1/2", b"a\\x00b c"),
    )
)


def test_a_line_becomes_an_attempt() -> None:
    page = read_page(LINE + b"\nnext\t18f.9\t3\n.\n")
    assert (page.run, page.cursor, page.missed) == ("18f", "18f.9", 3)
    (attempt,) = attempts_of(page, "b:4730")
    assert (attempt.server, attempt.run, attempt.number) == ("b:4730", "18f", 7)
    assert (attempt.at, attempt.submitted, attempt.started) == (1700000007.5, 1700000000.0, 1700000006.0)
    assert (attempt.function, attempt.priority, attempt.is_background) == ("se\tnd", "high", True)
    assert (attempt.outcome, attempt.follows, attempt.attempt) == ("exception", "retry", 2)
    assert (attempt.error, attempt.traceback) == ("no: \ufffd(", "File\n  boom")
    assert (attempt.workload_bytes, attempt.workload, attempt.tags) == (900, "\\x00w", ("a", "b c"))
    assert not attempt.is_whole
    (whole,) = attempts_of(read_page(without(16, b"2") + b"\nnext\t18f.9\t0\n.\n"), "b:4730")
    assert whole.is_whole
    assert (attempt.is_failure, attempt.is_over) == (True, False)


def test_an_attempt_that_was_not_begun() -> None:
    cells = LINE.split(b"\t")
    cells[7:12] = b"cancelled", b"", b"0", b"1700000000.000", b""
    (attempt,) = attempts_of(read_page(b"\t".join(cells) + b"\nnext\t18f.9\t0\n.\n"), "b:4730")
    assert (attempt.started, attempt.is_failure, attempt.is_over) == (None, False, True)


def test_a_refusal_is_an_error_with_its_code() -> None:
    with pytest.raises(AdminError, match="has them kept") as caught:
        read_page(b"ERR NOT_KEPT The+operator+has+them+kept+with+--finished-jobs\r\n")
    assert caught.value.code == "NOT_KEPT"


@pytest.mark.parametrize("answer", [b"", b".\n", b"OK\n", b"next\tr.1\n.\n", b"next\tr.1\tx\n.\n", LINE + b"\n.\n"])
def test_another_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(AdminError, match="something else"):
        read_page(answer)


def without(column: int, cell: bytes) -> bytes:
    """The line, with another cell in a column."""
    cells = LINE.split(b"\t")
    return b"\t".join((*cells[:column], cell, *cells[column + 1 :]))


@pytest.mark.parametrize("column", [0, 1, 9, 10, 11, 16])
@pytest.mark.parametrize("cell", [b"nan", b"inf", b"-inf", b"-1", b"9223372036854775808", b"1e300"])
def test_a_number_that_can_not_be_kept_is_an_error(column: int, cell: bytes) -> None:
    with pytest.raises(AdminError, match="makes no sense"):
        list(attempts_of(read_page(without(column, cell) + b"\nnext\tr.1\t0\n.\n"), "b:4730"))


@pytest.mark.parametrize("line", [b"", b"7", LINE + b"\tmore", LINE.replace(b"1700000006.000", b"soon")])
def test_another_line_is_an_error(line: bytes) -> None:
    with pytest.raises(AdminError, match="makes no sense"):
        list(attempts_of(read_page(line + b"\nnext\tr.1\t0\n.\n"), "b:4730"))
