"""What follows the end of jobs in the eager server: the next job of a chain, and batches of jobs with their callbacks.

It does what the job server does (docs/protocol-extensions.md), for as long as the test runs. The broker's lock is held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gearman_client.job_pairs import MAX_HANDED_ON_BYTES, split_link, split_pairs
from gearman_client.testing.submitted_job import JobOutcome, SubmittedJob, submitted_with
from gearman_client.text import to_text

_OUTCOMES: Sequence[JobOutcome] = ("complete", "failed", "expired", "cancelled", "stopped")


class Refused(Exception):
    """A request is refused; the arguments are code and text of the ERROR packet."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Batch:
    """A batch of jobs."""

    def __init__(self, name: bytes, callbacks: bytes, opened_at: float) -> None:
        self.name = name
        self.callbacks = callbacks
        self.state = "open"
        self.waiting = 0
        self.counts: Counter[JobOutcome] = Counter()
        self.is_cancelled = False
        self.times = {"opened": opened_at, "closed": 0.0, "ended": 0.0}

    @property
    def is_success(self) -> bool:
        return not self.is_cancelled and self.counts.total() == self.counts["complete"]

    @property
    def jobs(self) -> int:
        """How many it has, those that have ended included."""
        return self.waiting + self.counts.total()

    def due_callbacks(self) -> list[bytes]:
        given = dict(split_pairs(self.callbacks))
        wanted = (b"on_complete", b"on_success" if self.is_success else b"on_failure")
        return [given[name] for name in wanted if name in given]

    def facts(self) -> bytes:
        """The workload of a callback that was given none."""
        counts: dict[str, Any] = {outcome: self.counts[outcome] for outcome in _OUTCOMES}
        return _as_json({"batch": to_text(self.name), "jobs": self.jobs, **counts, "success": self.is_success})

    def pairs(self) -> list[bytes]:
        """Those of the packet BATCH."""
        facts: dict[str, Any] = {"state": self.state, "jobs": self.jobs, "waiting": self.waiting}
        facts |= {outcome: self.counts[outcome] for outcome in _OUTCOMES}
        facts |= {"is_cancelled": int(self.is_cancelled), "is_counting": 0}
        facts |= {name: f"{at:.3f}" if at else "" for name, at in self.times.items()}
        return [f"{name}={fact}".encode() for name, fact in facts.items()]


class Sequels:
    """All batches, and what follows jobs."""

    def __init__(self, submit: Callable[[SubmittedJob], bool], now: Callable[[], float]) -> None:
        """`submit` takes a job that follows others, and says whether it is a new one."""
        self._submit = submit
        self._now = now
        self._batches: dict[bytes, _Batch] = {}

    def clear(self) -> None:
        """Forget all batches."""
        self._batches.clear()

    # --- jobs

    def check(self, job: SubmittedJob) -> None:
        """Check that a new job can be added to its batch.

        Raises:
            Refused: it can't.
        """
        name = job.option("batch")
        if name is None:
            return
        batch = self._batches.get(name.encode())
        if batch is None:
            raise Refused("INVALID_BATCH", "there is no batch of this id: open it first")
        if batch.state != "open":
            raise Refused("INVALID_BATCH", "the batch is closed: no job can be added")

    def added(self, job: SubmittedJob) -> None:
        """Count a new job in its batch."""
        batch = self._batch_of(job)
        if batch is not None:
            batch.waiting += 1

    def ended(self, job: SubmittedJob) -> None:
        """Let follow what follows the end of a job, and count it in its batch."""
        links = [value for key, value in job.pairs if key == b"then"]
        on_failure = next((value for key, value in job.pairs if key == b"on_failure"), None)
        result = job.result or b""
        if job.outcome == "complete" and links and len(result) <= MAX_HANDED_ON_BYTES:
            later = [(b"then", link) for link in links[1:]]
            if on_failure is not None:
                later.append((b"on_failure", on_failure))
            self._follow(links[0], result, job, later)
        elif on_failure is not None and (links or job.outcome != "complete"):
            outcome = "too large" if job.outcome == "complete" else job.outcome
            facts = {"handle": job.handle, "function": job.function, "unique": job.unique, "outcome": outcome}
            given = split_link(on_failure)[0].get(b"workload")
            facts["error"] = job.reason.decode("utf-8", "backslashreplace")
            self._follow(on_failure, _as_json(facts) if given is None else given, job, [])
        batch = self._batch_of(job)
        if batch is not None and job.outcome is not None:
            batch.waiting -= 1
            batch.counts[job.outcome] += 1
            self._finish_if_over(batch)

    def _follow(
        self, link: bytes, workload: bytes, job: SubmittedJob | None, later: Iterable[tuple[bytes, bytes]]
    ) -> None:
        own, pairs = split_link(link)
        batch = None if job is None else self._batch_of(job)
        in_batch = [] if batch is None else [(b"batch", batch.name)]
        pairs = [(b"background", b"1"), *pairs, *later, *in_batch]
        following = submitted_with(own[b"function"], own.get(b"unique", b""), pairs, workload, self._now())
        if self._submit(following) and batch is not None:
            batch.waiting += 1

    def _batch_of(self, job: SubmittedJob) -> _Batch | None:
        name = job.option("batch")
        batch = None if name is None else self._batches.get(name.encode())
        return None if batch is None or batch.state == "done" else batch

    # --- batches

    def open(self, name: bytes, callbacks: bytes) -> list[bytes]:
        """Open a batch; returns the pairs of the answer, as the following do.

        Raises:
            Refused: there is another one of that id.
        """
        batch = self._batches.setdefault(name, _Batch(name, callbacks, self._now()))
        if batch.callbacks != callbacks or batch.state == "done":
            raise Refused("INVALID_BATCH", "there is another batch of this id: choose another id")
        return batch.pairs()

    def get(self, name: bytes) -> list[bytes]:
        """Tell of a batch."""
        batch = self._batches.get(name)
        return [b"state=unknown"] if batch is None else batch.pairs()

    def close(self, name: bytes, *, is_cancelled: bool = False) -> list[bytes]:
        """Add no more jobs."""
        batch = self._batches.get(name)
        if batch is not None and batch.state != "done":
            batch.is_cancelled |= is_cancelled
            if batch.state == "open":
                batch.state, batch.times["closed"] = "closed", self._now()
            self._finish_if_over(batch)
        return self.get(name)

    def _finish_if_over(self, batch: _Batch) -> None:
        if batch.state != "closed" or batch.waiting:
            return
        batch.state, batch.times["ended"] = "done", self._now()
        for link in batch.due_callbacks():
            given = split_link(link)[0].get(b"workload")
            self._follow(link, batch.facts() if given is None else given, None, [])


def _as_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False).encode()
