"""Groups of failures in a real file: what they count, what bounds them, and what they have the alerts know."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from gearman_manager.control import turns as control_turns
from gearman_manager.errors import NotFound
from gearman_manager.failures import group_file, groups
from gearman_manager.failures.groups import FailureGroups
from gearman_manager.finished.attempt import FinishedAttempt
from gearman_manager.history.history_file import HistoryFile
from gearman_manager.privacy import MARK, FunctionPrivacy, Privacy

DEADLINE_S = 20.0
TRACE = 'Traceback (most recent call last):\n  File "/w/mail.py", line {line}, in send\n    x\nKeyError: {text}\n'


def failure(number: int = 1, **parts: Any) -> FinishedAttempt:
    """The end of an attempt of one of our workers."""
    text = str(parts.pop("text", "'a'"))
    standard: dict[str, Any] = {
        "server": "a:4730",
        "run": "r",
        "number": number,
        "at": time.time(),
        "handle": f"H:a:{number}",
        "function": "mail",
        "unique": "",
        "priority": "normal",
        "is_background": True,
        "outcome": "exception",
        "follows": "dead",
        "attempt": 1,
        "submitted": 0.0,
        "started": 0.0,
        "worker": "gm:box/big/pool/3",
        "host": "127.0.0.1",
        "error": f"KeyError: {text}",
        "traceback": TRACE.format(line=number, text=text),
        "workload_bytes": 0,
        "workload": "",
        "result": "",
        "is_whole": True,
        "progress": "",
        "tags": (),
    }
    return FinishedAttempt(**standard | parts)


class Kept:
    """The groups, and their file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = HistoryFile(path)
        self.privacy = Privacy()
        self.pools = {"big/pool"}
        self.groups = FailureGroups(self.file, "box", lambda: ("/w",), self.privacy, lambda: self.pools)
        self.groups.start()

    def take(self, *attempts: FinishedAttempt) -> None:
        """Hand them over; returns when they are written."""
        self.groups.receive(attempts)
        with gevent.Timeout(DEADLINE_S):
            self.groups._is_idle.wait()

    def listed(self, function: str | None = None) -> list[dict[str, Any]]:
        return self.groups.page(function, None, 100)

    def close(self) -> None:
        self.groups.close()
        self.file.close()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    monkeypatch.setattr(groups, "PAUSE_S", 0.0)
    made = Kept(tmp_path / "history.db")
    yield made
    made.close()


def test_failures_are_counted_by_function_exception_and_place(kept: Kept) -> None:
    now = time.time()
    kept.take(failure(1, at=now - 7200), failure(2, at=now, text="'b'"), failure(3, function="post", at=now - 60))
    kept.take(failure(4, at=now - 3600, follows="retry"), failure(5, outcome="complete", error="", traceback=""))
    first, second = kept.listed()
    assert (first["function"], first["exception"], first["place"], first["count"]) == (
        "mail",
        "KeyError",
        "mail.send",
        3,
    )
    assert (first["first"], first["last"], first["dead"]) == (now - 7200, now, 2)
    assert first["hours"][-3:] == [1, 1, 1]
    assert len(first["hours"]) == 24
    assert (second["function"], second["count"]) == ("post", 1)
    assert kept.listed("post") == [second]
    shown = kept.groups.show(first["id"], 2)
    assert (shown["error"], shown["line"], shown["file"]) == ("KeyError: 'a'", 4, "/w/mail.py")  # the last that came
    assert [job["handle"] for job in shown["jobs"]] == ["H:a:4", "H:a:2"]
    assert sum(shown["hours"]) == 3
    assert kept.groups.like("mail", "KeyError: 'c'", TRACE.format(line=99, text="c")) == first["id"]
    assert kept.groups.like("mail", "KeyError: 'c'", "") is None
    with pytest.raises(NotFound):
        kept.groups.show("none", 1)


def test_a_list_goes_on_behind_a_place(kept: Kept) -> None:
    kept.take(*(failure(number, function=f"f{number}", at=1e9 + number) for number in range(5)))
    rows = kept.groups.page(None, None, 2)
    rows += kept.groups.page(None, (rows[-1]["last"], rows[-1]["id"]), 100)
    assert [row["function"] for row in rows] == ["f4", "f3", "f2", "f1", "f0"]


def test_the_letters_of_a_group_are_those_of_a_mark(kept: Kept) -> None:
    kept.take(failure(1), failure(2), failure(3, function="post"))
    [group] = kept.listed("mail")
    mark = kept.groups.show(group["id"], 0)["mark"]
    kept.take(failure(4), failure(1))  # the first one was tried again, and failed again
    assert kept.groups.letters(group["id"], mark) == [("H:a:2", "a:4730")]
    kept.take(failure(2, outcome="complete", follows="", error="", traceback=""))
    assert kept.groups.letters(group["id"], mark) == []
    assert kept.listed("mail")[0]["dead"] == 2
    kept.groups.no_letters(["H:a:4"])
    assert kept.listed("mail")[0]["dead"] == 1


def test_a_mute_holds_over_restarts_until_its_end_or_until_it_is_taken_back(kept: Kept) -> None:
    kept.take(failure(1))
    [group] = kept.listed()
    kept.groups.mute(group["id"], math.inf, "user ann")
    [muted] = kept.listed()
    assert (muted["is_muted"], muted["muted_until"], muted["muted_by"]) == (True, None, "user ann")
    kept.take(failure(2), failure(3, worker="gm:other/big/pool/1"), failure(4, function="post"))
    kept.take(failure(6, outcome="lost"))
    now = time.time()
    # Not those of before, of others, of other groups, and what no pool counts.
    assert kept.groups.mutes.failures("big/pool") == 1
    muted_letters = [kept.groups.mutes.is_muted_letter(f"H:a:{number}", now) for number in (1, 2, 4, 9)]
    assert muted_letters == [True, True, False, False]
    kept.close()
    again = Kept(kept.path)
    again.take(failure(5))
    assert again.groups.mutes.failures("big/pool") == 1
    assert again.groups.mutes.is_muted_letter("H:a:1", now)
    again.groups.mute(group["id"], now + 60, "user ann")
    assert again.listed()[0]["muted_until"] == now + 60
    assert not again.groups.mutes.is_muted_letter("H:a:1", now + 61)
    again.groups.mute(group["id"], None, "user bob")
    assert not again.listed()[0]["is_muted"]
    assert not again.groups.mutes.is_muted_letter("H:a:1", now)
    with pytest.raises(NotFound):
        again.groups.mute("none", math.inf, "user ann")
    again.close()


def test_groups_hours_and_jobs_are_bounded_and_muted_groups_stay(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_GROUPS", "MOST_JOBS", "MOST_HOURS"):
        monkeypatch.setattr(group_file, name, 4)
    now = time.time()
    kept.take(failure(1, at=now - 10 * 3600))
    kept.groups.mute(kept.listed()[0]["id"], math.inf, "ann")
    kept.take(*(failure(number, function=f"f{number}", at=now - 100 + number) for number in range(2, 9)))
    assert [row["function"] for row in kept.listed()] == ["f8", "f7", "f6", "mail"]
    assert kept.listed("mail")[0]["hours"] == [0] * 24  # too long ago
    with closing(sqlite3.connect(kept.path)) as file:
        assert file.execute("SELECT count(*) FROM failure_jobs").fetchone() == (3,)
        assert file.execute("SELECT count(*) FROM failure_hours").fetchone() == (3,)


def test_hours_that_a_clock_counted_while_it_was_ahead_do_not_stay(kept: Kept) -> None:
    now = time.time()
    kept.take(failure(1, at=now + 30 * 86400), failure(2, at=now))
    with closing(sqlite3.connect(kept.path)) as file:
        assert file.execute("SELECT hour FROM failure_hours").fetchall() == [(int(now // 3600),)]


def test_what_is_private_by_now_is_not_shown_and_what_is_too_old_is_forgotten(kept: Kept) -> None:
    now = time.time()
    kept.take(failure(1, at=now - 100, text="password=swordfish"), failure(2, function="post", at=now - 100))
    [group] = kept.listed("mail")
    assert "swordfish" in kept.groups.show(group["id"], 0)["traceback"]
    kept.privacy.use({"mail": FunctionPrivacy(("password",))}, FunctionPrivacy())
    assert "swordfish" not in str(kept.groups.show(group["id"], 0)) + str(kept.listed())
    kept.privacy.use({"mail": FunctionPrivacy(retention_s=60)}, FunctionPrivacy())
    kept.take(failure(3))
    assert [job["handle"] for job in kept.groups.show(group["id"], 9)["jobs"]] == ["H:a:3"]
    kept.privacy.use({"post": FunctionPrivacy(retention_s=60)}, FunctionPrivacy())
    kept.take(failure(4))
    assert [row["function"] for row in kept.listed()] == ["mail"]


def test_a_muted_group_that_was_forgotten_is_not_muted_when_it_comes_again(kept: Kept) -> None:
    kept.privacy.use({"mail": FunctionPrivacy(retention_s=60)}, FunctionPrivacy())
    kept.take(failure(1))
    kept.groups.mute(kept.listed()[0]["id"], math.inf, "user ann")
    kept.take(failure(2))
    assert kept.groups.mutes.is_muted_letter("H:a:2", time.time())
    kept.privacy.use({"mail": FunctionPrivacy(retention_s=0)}, FunctionPrivacy())
    kept.take(failure(3, function="post"))
    assert kept.listed("mail") == []
    kept.privacy.use({}, FunctionPrivacy())
    kept.take(failure(4))
    assert not kept.listed("mail")[0]["is_muted"]
    assert not kept.groups.mutes.is_muted_letter("H:a:4", time.time())


def test_muted_failures_are_counted_of_pools_that_there_are(kept: Kept) -> None:
    kept.take(failure(1))
    kept.groups.mute(kept.listed()[0]["id"], math.inf, "user ann")
    kept.take(failure(2), *(failure(number, worker=f"gm:box/x{number}/1") for number in range(3, 20)))
    assert dict(kept.groups.mutes._failures) == {"big/pool": 1}
    kept.pools.clear()
    kept.take(failure(1))
    assert not kept.groups.mutes._failures


def test_a_flood_of_failures_is_taken_in_in_turns(kept: Kept) -> None:
    longest = 0.0

    def watch() -> None:
        nonlocal longest
        while True:
            began = time.monotonic()
            gevent.sleep(0.001)
            longest = max(longest, time.monotonic() - began)

    watcher = gevent.spawn(watch)
    kept.take(*(failure(number, traceback=TRACE.format(line=1, text="x") * 20) for number in range(2000)))
    watcher.kill()
    assert kept.listed()[0]["count"] == 2000
    assert longest < 0.5  # without turns it was a second and more


def test_rules_are_applied_to_a_list_in_turns(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.take(*(failure(number, function=f"f{number}") for number in range(5)))
    monkeypatch.setattr(control_turns, "TURN_S", 0.0)
    looks = 0
    seen: list[int] = []

    def others() -> None:
        nonlocal looks
        while True:
            looks += 1
            gevent.sleep(0.0001)  # with no pause at all the file's thread might not be heard

    class Watched(Privacy):
        def of(self, function: str) -> FunctionPrivacy:
            seen.append(looks)
            return super().of(function)

    kept.groups._privacy = Watched()
    greenlet = gevent.spawn(others)
    assert len(kept.listed()) == 5
    greenlet.kill()
    assert seen == sorted(set(seen)), "others ran between any two rows"


def test_a_file_that_can_not_be_used_costs_the_counts_alone(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.path.mkdir()
    kept.take(failure(1))
    kept.path.rmdir()
    kept.take(failure(2))
    assert [row["count"] for row in kept.listed()] == [1]
    assert "history.db can't be used" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"text": "PRIVATE77"}, "KeyError"),
        ({"error": "PRIVATE77 of Smith", "traceback": ""}, MARK),
        ({"error": "PRIVATE77", "traceback": ""}, MARK),
        ({"error": "my.OwnError: PRIVATE77", "traceback": ""}, "my.OwnError"),
        ({"error": "", "traceback": "", "outcome": "failed"}, "failed"),
    ],
)
def test_of_a_function_whose_workloads_became_private_the_type_alone_is_shown(
    kept: Kept, parts: dict[str, Any], told: str
) -> None:
    kept.take(failure(**parts))
    kept.privacy.use({"mail": FunctionPrivacy(shows_workloads=False)}, FunctionPrivacy())
    (listed,) = kept.listed()
    shown = kept.groups.show(listed["id"], 5)
    assert "PRIVATE77" not in str(listed) + str(shown)
    assert [(each["exception"], each["error"], each["traceback"]) for each in (listed, shown)] == [(told, told, "")] * 2
