"""A batch that could not be written is merged into the next one: later changes win, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gearman_server.jobs.dead_letters import DeadLetter
from gearman_server.jobs.function import Function
from gearman_server.jobs.job import NORMAL, Job
from gearman_server.jobs.kept_results import Ending, KeptResult
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.jobs.schedule_rules import ScheduleMark
from gearman_server.stores.batch import Batch

HANDLE = b"H:test:1"
RESULT = KeptResult(HANDLE, b"f", Ending.COMPLETE, b"old", b"", 0, b"0", b"0", 1.0, 2.0)
LETTER = DeadLetter(HANDLE, b"f", b"", b"old", 1, None, 1, 0, 1.0, 1.0, 1.0, 1.0, b"e", b"")
MARK = ScheduleMark("every 1 s", 1.0, None)


@pytest.fixture
def batches() -> tuple[Batch, Batch]:
    """The batch that failed, and the next one."""
    return Batch(), Batch()


def merge(failed: Batch, following: Batch) -> None:
    """What becomes of a failed batch until its inserts are repeated in the next one."""
    aside = Batch()
    aside.put_aside(failed, following, is_unknown=False)
    following.take_back(failed)
    following.add_repeated(aside)


@pytest.mark.parametrize(("kept", "gone", "old"), [("results", "outdated", RESULT), ("letters", "forgotten", LETTER)])
class TestKept:
    """Results and letters: `kept` by handle, and handles of removed ones in `gone`, which are written first."""

    def test_entries_of_a_failed_batch_are_written_with_the_next_one(
        self, batches: tuple[Batch, Batch], kept: str, gone: str, old: DeadLetter | KeptResult
    ) -> None:
        failed, following = batches
        getattr(failed, kept)[HANDLE] = old
        getattr(failed, gone)[b"H:test:2"] = None
        merge(failed, following)
        assert getattr(following, kept) == {HANDLE: old}
        assert [*getattr(following, gone)] == [b"H:test:2"]

    def test_a_later_entry_for_the_same_job_wins(
        self, batches: tuple[Batch, Batch], kept: str, gone: str, old: DeadLetter | KeptResult
    ) -> None:
        failed, following = batches
        new = replace(old, function=b"new")
        getattr(failed, kept)[HANDLE] = old
        getattr(following, kept)[HANDLE] = new
        merge(failed, following)
        assert getattr(following, kept) == {HANDLE: new}
        assert [*getattr(following, gone)] == []

    def test_an_entry_that_was_removed_since_does_not_come_back(
        self, batches: tuple[Batch, Batch], kept: str, gone: str, old: DeadLetter | KeptResult
    ) -> None:
        failed, following = batches
        getattr(failed, kept)[HANDLE] = old
        getattr(following, gone)[HANDLE] = None
        merge(failed, following)
        assert getattr(following, kept) == {}
        assert [*getattr(following, gone)] == [HANDLE]  # it is unknown whether the entry was written

    def test_an_entry_that_was_removed_and_added_anew_is_kept(
        self, batches: tuple[Batch, Batch], kept: str, gone: str, old: DeadLetter | KeptResult
    ) -> None:
        failed, following = batches
        getattr(failed, gone)[HANDLE] = None
        getattr(following, kept)[HANDLE] = old
        merge(failed, following)
        assert [*getattr(following, gone)] == ([] if kept == "letters" else [HANDLE])
        assert getattr(following, kept) == {HANDLE: old}


@pytest.mark.parametrize("later", [None, MARK._replace(handled_until=2.0)])
def test_of_two_marks_the_later_one_wins(batches: tuple[Batch, Batch], later: ScheduleMark | None) -> None:
    failed, following = batches
    failed.marks = {"tick": MARK, "tock": MARK}
    following.marks = {"tick": later}
    merge(failed, following)
    assert following.marks == {"tick": later, "tock": MARK}


def test_rows_that_may_have_been_inserted_are_deleted_with_the_repetition_of_their_inserts(
    batches: tuple[Batch, Batch],
) -> None:
    failed, following = batches
    failed.inserts[Job(HANDLE, Function(b"f", FunctionPolicy()), b"", b"w", NORMAL, 0.0)] = None
    failed.deletes.append(7)
    aside = Batch()
    aside.put_aside(failed, following, is_unknown=True)
    following.take_back(failed)
    assert (following.deletes, following.undone, following.inserts) == ([7], 0, {})
    following.add_repeated(aside)
    assert (following.deletes, following.undone, following.inserts) == ([1, 7], 1, {})


def test_what_is_written_together_with_an_insert_waits_for_its_repetition(batches: tuple[Batch, Batch]) -> None:
    failed, following = batches
    failed.marks["tick"], failed.forgotten[HANDLE] = MARK, None
    aside = Batch()
    aside.put_aside(failed, following, is_unknown=False)
    following.take_back(failed)
    assert not following
    following.add_repeated(aside)
    assert (following.marks, [*following.forgotten]) == ({"tick": MARK}, [HANDLE])


def test_a_batch_with_one_entry_of_any_kind_is_not_empty() -> None:
    batch = Batch()
    batch.deletes.append(1)
    assert batch
    for name in ("inserts", "updates", "letters", "forgotten", "results", "outdated", "marks"):
        batch = Batch()
        getattr(batch, name)["key"] = None
        assert batch
    assert not Batch()
