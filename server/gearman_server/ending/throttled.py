"""Jobs that their workers put back, because something that they need takes no more now: SMTP's 421, HTTP's 429. Pure.

The job goes back to the head of its queue, as if it had never been given out, and none of its key, or of its function,
starts for a while. The holds themselves are in the room `keys`. They end with the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_process.values.quoting import shown
from gearman_server.ending.attempts import MAX_ERROR_BYTES
from gearman_server.jobs.endings import End, Sequel
from gearman_server.jobs.events import EventStream, JobThrottled

if TYPE_CHECKING:
    from gearman_server.ending.attempts import Attempts, Failure
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.job_life import JobLife
    from gearman_server.keys.key_rules import KeyRules

#: A hold is at least this long: a job that is always put back must not keep the server busy.
SHORTEST_HOLD_S: Final = 0.01


class Throttling:
    """Carries out the verdict `throttle`."""

    def __init__(self, life: JobLife, attempts: Attempts, keys: KeyRules, events: EventStream) -> None:
        self._life = life
        self._expiry = attempts.expiry
        attempts.throttle = self.put_back
        self._keys = keys
        self._events = events

    def put_back(self, job: Job, failure: Failure) -> bool:
        """Hold the job's key or function, and put the job back. Returns False if nobody wants it any more: then it is
        still with its worker."""
        function = job.function
        wait_s = max(SHORTEST_HOLD_S, job.policy.backoff_s if failure.wait_s is None else failure.wait_s)
        if failure.is_of_function:
            held = "the function"
            self._keys.hold_function(function, wait_s)
        else:
            held = f"the key {shown(job.key.decode(errors='backslashreplace'))}" if job.key else "the empty key"
            self._keys.hold_key(job, wait_s)
        if not job.is_wanted:
            return False
        reason = (failure.reason or b"")[:MAX_ERROR_BYTES]
        note = self._life.endings.note
        if note is not None:
            note(job, job.worker, End.THROTTLED, Sequel.RETRY, reason)
        if self._expiry.is_over(job):
            self._life.release_worker(job)
            self._expiry.end(job)
        else:
            self._life.take_back(job)
        self._events.emit(JobThrottled(job.handle, function.name, held, round(wait_s, 3), reason, job.priority))
        return True
