"""What follows the end of a job whose options say so: the next job of its chain, and the count of its batch. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gearman_client.job_pairs import MAX_HANDED_ON_BYTES
from gearman_server.errors import RefusedError
from gearman_server.jobs.batch_rows import ChainBroken, FollowedEnd, Outcome
from gearman_server.jobs.job import WRITTEN
from gearman_server.sequels.job_batches import JobBatches
from gearman_server.sequels.owed_jobs import OwedJobs

if TYPE_CHECKING:
    from gearman_server.ending.expiry import Expiry
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.jobs.job_table import JobTable
    from gearman_server.jobs.store import Store
    from gearman_server.options.job_options import JobOptions, Link


class Sequels:
    """Lets follow what follows."""

    def __init__(self, functions: Functions, table: JobTable, life: JobLife, expiry: Expiry, store: Store) -> None:
        life.following = self
        owed = OwedJobs(functions, table, life, expiry)
        self.batches = JobBatches(owed, store)
        self._owed = owed
        self._durability = owed.life.durability
        self._events = owed.events

    def end(self, job: Job, options: JobOptions, outcome: Outcome | None, text: bytes) -> None:
        """The job has ended in this way, with this result or reason; None: it was never accepted."""
        batch = self.batches.get(options.batch) if options.batch else None
        has_next = False
        if outcome is Outcome.COMPLETE and options.then:
            has_next = self._go_on(job, options, text)
        elif outcome is not Outcome.COMPLETE and outcome is not None and options.on_failure is not None:
            has_next = self._follow_failure(job, options, options.on_failure, outcome.value, text)
        has_row = job.record is WRITTEN
        if job.record is not None:
            if self.batches.shared is not None:
                counted_by = options.batch  # the row tells whether it was counted before
            else:
                counted_by = batch.name if batch is not None and has_row else b""
            self._durability.job_ended(job, FollowedEnd(counted_by, outcome or Outcome.CANCELLED, has_next))
        if batch is not None:
            self.batches.note_end(batch, outcome, is_counted_by_row=has_row)

    def _go_on(self, job: Job, options: JobOptions, result: bytes) -> bool:
        """Submit the next job of the chain."""
        if len(result) > MAX_HANDED_ON_BYTES:
            reason = f"its result has {len(result)} bytes, and at most {MAX_HANDED_ON_BYTES} are handed on"
            self._events.emit(ChainBroken(job.handle, job.function.name, reason))
            link = options.on_failure
            return link is not None and self._follow_failure(job, options, link, "too large", reason.encode())
        link, later = options.then[0], options.then[1:]
        pairs = [b"then=" + follower.encoded for follower in later]
        if options.on_failure is not None:
            pairs.append(b"on_failure=" + options.on_failure.encoded)
        return self._submit(job, options, link, result, pairs)

    def _follow_failure(self, job: Job, options: JobOptions, link: Link, outcome: str, reason: bytes) -> bool:
        facts = {
            "handle": job.handle.decode(),
            "function": job.function.name.decode("utf-8", "backslashreplace"),
            "unique": job.unique.decode("utf-8", "backslashreplace"),
            "outcome": outcome,
            "error": reason.decode("utf-8", "backslashreplace"),
        }
        workload = json.dumps(facts, ensure_ascii=False).encode() if link.workload is None else link.workload
        return self._submit(job, options, link, workload, [])

    def _submit(self, job: Job, options: JobOptions, link: Link, workload: bytes, pairs: list[bytes]) -> bool:
        """Submit a job that follows another, in its batch."""
        batch = self.batches.get(options.batch) if options.batch else None
        if batch is not None or (options.batch and self.batches.shared is not None):
            pairs.append(b"batch=" + options.batch)
        try:
            [handle] = self._owed.take_handles(1)
        except RefusedError as error:
            self._events.emit(ChainBroken(job.handle, job.function.name, str(error)))
            return False
        joined = b"\0".join([*([link.pairs] if link.pairs else []), *pairs])
        _, is_new = self._owed.submit(handle, link.function, link.unique, workload, joined)
        if is_new and batch is not None:
            self.batches.add(batch)
        return True
