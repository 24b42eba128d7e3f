"""The operator's settings for jobs: only values."""

from __future__ import annotations

from dataclasses import dataclass

from gearman_server.jobs.access import THIS_MACHINE, AccessList
from gearman_server.jobs.dead_letters import DEFAULT_BOUNDS, DeadLetterBounds
from gearman_server.jobs.kept_results import DEFAULT_BOUNDS as DEFAULT_RESULT_BOUNDS
from gearman_server.jobs.kept_results import ResultBounds


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The operator's settings for jobs."""

    handle_prefix: bytes = b"H:localhost"
    #: A job is given up when this many of its attempts have lost their worker; None = no limit.
    job_retries: int | None = None
    #: How long a worker that has just finished a job waits for the next one before it gets NO_JOB.
    grab_patience_s: float = 0.001
    #: How many sleeping workers one job wakes at once; 0 = one, then more and more while the job still waits.
    worker_wakeup: int = 0
    #: Whether every connection gets WORK_EXCEPTION without asking.
    exceptions: bool = False
    #: The peers that may change things by text command.
    admin_allow: AccessList = THIS_MACHINE
    #: Whether there is a text command `shutdown`.
    allow_shutdown: bool = False
    #: How many jobs that failed for good are kept.
    dead_letters: DeadLetterBounds = DEFAULT_BOUNDS
    #: How many results of background jobs are kept.
    results: ResultBounds = DEFAULT_RESULT_BOUNDS
    #: How many ends of attempts, and of jobs without any, are kept for `jobs finished`; 0: none.
    finished_jobs: int = 0
