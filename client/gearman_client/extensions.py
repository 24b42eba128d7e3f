"""The names and numbers of our extensions to the Gearman protocol, shared by client library and job server.

A connection switches each extension on with its own OPTION_REQ. The packet numbers start at 1000, so standard clients
and workers never meet them. Constants only; docs/protocol-extensions.md describes the packets.
"""

from __future__ import annotations

from typing import Final

#: OPTION_REQ name: the worker wants the attempt number of each job that it is assigned.
JOB_ATTEMPT_OPTION: Final = b"job-attempt"

#: Answers GRAB_JOB_UNIQ once `job-attempt` is on: handle, function, unique, attempt (decimal text, from 1), workload.
JOB_ASSIGN_ATTEMPT: Final = 1000
JOB_ASSIGN_ATTEMPT_ARGUMENTS: Final = 5

#: OPTION_REQ name: the worker wants to say more about a failure than WORK_EXCEPTION can carry.
JOB_FAILURE_OPTION: Final = b"job-failure"

#: A worker's answer once `job-failure` is on: handle, verdict, wait in milliseconds (decimal text, or empty), attempts
#: (decimal text, or empty), reason, traceback.
WORK_FAILURE: Final = 1002
WORK_FAILURE_ARGUMENTS: Final = 6

#: OPTION_REQ name: the client wants to ask for results of background jobs.
JOB_RESULT_OPTION: Final = b"job-result"

#: A client's request for a result: handle, milliseconds to wait (decimal text; empty: until the job ends).
GET_RESULT: Final = 1003

#: The answer to GET_RESULT: handle, state, numerator, denominator, ended at, expires at (Unix seconds), number of bytes
#: of data and warnings that were not kept, result or reason.
RESULT: Final = 1004
RESULT_ARGUMENTS: Final = 8

#: OPTION_REQ name: the connection wants to hear of every change of a function's queue.
QUEUE_EVENTS_OPTION: Final = b"queue-events"

#: Sent by the server once `queue-events` is on: function, queued, running, workers, waiting (decimal text).
QUEUE_CHANGED: Final = 1001
QUEUE_CHANGED_ARGUMENTS: Final = 5

#: OPTION_REQ name: the connection wants to hear what keeps the server from doing all of its work.
SERVER_TROUBLES_OPTION: Final = b"server-troubles"

#: Sent by the server once `server-troubles` is on, at once and at each change: a sentence for people, empty if all is
#: well.
SERVER_TROUBLE: Final = 1005

#: OPTION_REQ name: the worker wants several jobs at once. Asked after `job-attempt`.
GRAB_MANY_OPTION: Final = b"grab-many"

#: A worker registers a function of which it wants batches: function, the most jobs of one batch, the milliseconds that
#: a job may wait for the batch to fill up (both decimal text).
CAN_DO_MANY: Final = 1006
CAN_DO_MANY_ARGUMENTS: Final = 3

#: A worker asks for up to so many jobs (decimal text).
GRAB_JOBS: Final = 1007

#: Answers GRAB_JOBS if there is a job: the number of jobs (decimal text); so many JOB_ASSIGN_ATTEMPT packets follow.
JOBS_ASSIGNED: Final = 1008

#: A worker names the key with which another connection may give its jobs back: the key.
SET_RETURN_KEY: Final = 1009
#: The bounds of its length in bytes.
MIN_RETURN_KEY_BYTES: Final = 16
MAX_RETURN_KEY_BYTES: Final = 64

#: Gives jobs back that a worker has not begun: the worker's key, handles. The worker itself may leave the key empty.
RETURN_JOBS: Final = 1010

#: The most jobs in one answer to GRAB_JOBS, in one batch, and in one RETURN_JOBS.
MAX_JOBS_AT_ONCE: Final = 1000

#: The longest time that a job may wait for a batch to fill up.
MAX_LINGER_MS: Final = 60_000

#: OPTION_REQ name: a supervisor wants to hear of its workers that hold jobs which an idle worker could do.
HELD_JOBS_OPTION: Final = b"held-jobs"

#: Sent by the server once `held-jobs` is on: client id of the worker, function, number of its jobs that are not begun
#: (decimal text).
JOBS_HELD: Final = 1011
JOBS_HELD_ARGUMENTS: Final = 3
