"""What is new in the answers of job servers to `counts`."""

from __future__ import annotations

import pytest

from gearman_manager.series.figures import FUNCTION, Point
from gearman_manager.series.function_counts import Differences, parsed

COUNTERS = "submitted coalesced started completed failed timed_out retried throttled dropped expired stopped new_one"


def answer(functions: dict[str, tuple[int, int]], since: str = "5.000", bounds: str = "0.001 0.5 7200") -> bytes:
    """An answer: of each function, the jobs submitted and completed, each of which took 0.3 s."""
    lines = [f"since\t{since}\t{COUNTERS}\t{bounds}"]
    for name, (submitted, done) in functions.items():
        counts = [submitted, 0, done, done, *[0] * 8]
        waiting = submitted - done
        buckets = f"0 {done} 0 0"
        columns = [" ".join(map(str, counts)), f"{waiting} 0 {100 * waiting}", "0", "0 0 0 0", str(300 * done), buckets]
        lines.append("\t".join([name, *columns]))
    return "\n".join([*lines, ".", ""]).encode()


def take(differences: Differences, text: bytes, *names: str) -> dict[str, Point]:
    return dict(differences.take(*parsed(text, names or ("mail",), lambda: None)))


def test_the_first_answer_tells_of_queues_alone_and_the_next_of_what_is_new() -> None:
    differences = Differences()
    now = FUNCTION.point(waiting=2, oldest_ms=200)
    assert take(differences, answer({"mail": (9, 7)})) == {"mail": now}
    new = FUNCTION.point(submitted=3, started=4, completed=4, ran_ms=1200, ran_8=4)
    now = FUNCTION.point(waiting=1, oldest_ms=100)
    assert take(differences, answer({"mail": (12, 11)})) == {"mail": new | now}


def test_a_server_that_was_restarted_begins_at_nothing() -> None:
    differences = Differences()
    take(differences, answer({"mail": (9, 9)}))
    new = FUNCTION.point(submitted=20, started=20, completed=20, ran_ms=6000, ran_8=20)
    assert take(differences, answer({"mail": (20, 20)}, since="6.000")) == {"mail": new}


def test_a_function_that_was_forgotten_begins_at_nothing() -> None:
    differences = Differences()
    take(differences, answer({"mail": (9, 9)}))
    assert take(differences, answer({"mail": (2, 2)}))["mail"] == FUNCTION.point(
        submitted=2, started=2, completed=2, ran_ms=600, ran_8=2
    )
    assert take(differences, answer({}), "mail") == {}
    assert take(differences, answer({"mail": (5, 5)}))["mail"][FUNCTION.place["completed"]] == 5


def test_functions_of_others_are_passed_over_and_odd_names_are_read() -> None:
    assert take(Differences(), answer({"other": (1, 0), r"a\x09b": (1, 0)}), "a\tb").keys() == {"a\tb"}


@pytest.mark.parametrize(
    "text", [b"", b".\n", b"ERR x y\r\n", b"OK\n", answer({"mail": (1, 1)})[:-2], b"since\tx\n.\n"]
)
def test_what_is_no_answer_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parsed(text, ("mail",), lambda: None)
