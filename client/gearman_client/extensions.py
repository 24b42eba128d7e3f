"""The names and numbers of our extensions of the Gearman protocol, shared by client library and job server.

Each is switched on by its own OPTION_REQ on a connection and uses packet numbers from 1000 up, so that standard clients
and workers never meet one. Constants only; docs/protocol-extensions.md says what they mean on the wire.
"""

from __future__ import annotations

from typing import Final

#: OPTION_REQ name: this worker wants to be told the attempt number of each job it is assigned.
JOB_ATTEMPT_OPTION: Final = b"job-attempt"

#: Answers GRAB_JOB_UNIQ once `job-attempt` is on: handle, function, unique, attempt (decimal text, from 1), workload.
JOB_ASSIGN_ATTEMPT: Final = 1000
JOB_ASSIGN_ATTEMPT_ARGUMENTS: Final = 5

#: OPTION_REQ name: this worker wants to say more of a failure than WORK_EXCEPTION can.
JOB_FAILURE_OPTION: Final = b"job-failure"

#: A worker's answer once `job-failure` is on: handle, verdict, wait in milliseconds (decimal text, or empty), attempts
#: (decimal text, or empty), reason, traceback.
WORK_FAILURE: Final = 1002
WORK_FAILURE_ARGUMENTS: Final = 6

#: OPTION_REQ name: this client wants to ask for results of background jobs.
JOB_RESULT_OPTION: Final = b"job-result"

#: A client's request: handle, milliseconds to wait (decimal text; empty: until the job ends).
GET_RESULT: Final = 1003

#: Its answer: handle, state, numerator, denominator, ended at, expires at (Unix seconds), how many bytes of data and
#: warnings are not kept, result or reason.
RESULT: Final = 1004
RESULT_ARGUMENTS: Final = 8

#: OPTION_REQ name: this connection wants to be told of every change of a function's queue.
QUEUE_EVENTS_OPTION: Final = b"queue-events"

#: Comes unasked once `queue-events` is on: function, queued, running, workers, waiting (decimal text).
QUEUE_CHANGED: Final = 1001
QUEUE_CHANGED_ARGUMENTS: Final = 5
