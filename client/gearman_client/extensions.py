"""The names and numbers of our extensions to the Gearman protocol, shared by client library and job server.

A connection switches each extension on with its own OPTION_REQ. The packet numbers start at 1000, so standard clients
and workers never meet them. Constants, and the key for a set of jobs; docs/protocol-extensions.md describes the
packets.
"""

from __future__ import annotations

from typing import Final

#: The code and the text of the ERROR by which a server that is about to end refuses a job; an answer of ours alone.
ENDING_CODE: Final = b"QUEUE_ERROR"
ENDING_TEXT: Final = b"The server is shutting down"

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
#: With the verdict `throttle` one of these stands in place of the attempts: what is held. Servers with `job-options`
#: know it.
THROTTLE_KEY: Final = b"key"
THROTTLE_FUNCTION: Final = b"function"

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

#: Sent by the server once `queue-events` is on: function, queued, running, workers, waiting (decimal text). For a
#: function that is paused or held by its brake: also since when it is paused, since when it is held, and until when
#: (Unix milliseconds, decimal text, 0 for no).
QUEUE_CHANGED: Final = 1001
QUEUE_CHANGED_ARGUMENTS: Final = 5
QUEUE_CHANGED_HOLD_ARGUMENTS: Final = 4

#: OPTION_REQ name: the connection wants to hear what keeps the server from doing all of its work.
SERVER_TROUBLES_OPTION: Final = b"server-troubles"

#: Sent by the server once `server-troubles` is on, at once and at each change: a sentence for people, empty if all is
#: well.
SERVER_TROUBLE: Final = 1005

#: OPTION_REQ name: the connection wants to know the servers of the cluster, now and whenever they change.
SERVERS_OPTION: Final = b"servers"

#: Sent by the server once `servers` is on, at once and at each change: the rows of the text command `servers`.
SERVERS: Final = 1022

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


def key_of_set(return_key: bytes, set_number: int) -> bytes:
    """The key for one set of jobs. The next set has another, so that a return that comes too late takes nothing of it,
    not even the same jobs, which the worker may have begun."""
    return b"%b-%d" % (return_key, set_number)


#: Gives jobs back that a worker has not begun: the worker's key, handles. The worker itself may leave the key empty.
RETURN_JOBS: Final = 1010

#: The most jobs in one answer to GRAB_JOBS, in one batch, and in one RETURN_JOBS.
MAX_JOBS_AT_ONCE: Final = 1000

#: The longest time that a job may wait for a batch to fill up.
MAX_LINGER_MS: Final = 60_000

#: OPTION_REQ name: a worker with `grab-many` wants sets of plain jobs in one packet, and may complete many in one.
PLAIN_SETS_OPTION: Final = b"plain-sets"

#: Answers GRAB_JOBS, in place of JOBS_ASSIGNED and what follows it, if all jobs are of one function, in their first
#: attempt, and nothing is told of their options: function, number of jobs (decimal text), their handles, their unique
#: keys, their workloads (`packet.encode_workloads`).
PLAIN_JOBS_ASSIGNED: Final = 1037

#: As a WORK_COMPLETE with an empty result for each: handles, no more than MAX_JOBS_AT_ONCE.
JOBS_COMPLETE: Final = 1038

#: OPTION_REQ name: a supervisor wants to hear of its workers that hold jobs which an idle worker could do.
HELD_JOBS_OPTION: Final = b"held-jobs"

#: Sent by the server once `held-jobs` is on: client id of the worker, function, number of its jobs that are not begun
#: (decimal text).
JOBS_HELD: Final = 1011
JOBS_HELD_ARGUMENTS: Final = 3

#: OPTION_REQ name: a client wants to submit jobs with options of their own; a worker wants to be told of them.
JOB_OPTIONS_OPTION: Final = b"job-options"

#: Submits a job with options: function, unique, pairs (`job_pairs`), workload.
SUBMIT_JOB_WITH: Final = 1012

#: Answers GRAB_JOB_UNIQ once `job-options` is on, in place of JOB_ASSIGN_ATTEMPT, for a job with options that concern
#: its worker: handle, function, unique, attempt (decimal text, from 1), pairs, workload.
JOB_ASSIGN_WITH: Final = 1013
#: Its arguments in front of the pairs.
JOB_ASSIGN_WITH_START: Final = 4

#: OPTION_REQ name: a worker wants to keep how far it has come with a job, for the next attempt.
CHECKPOINTS_OPTION: Final = b"checkpoints"

#: Keeps a cursor with a running job: handle, cursor. There is no answer. The next attempt is told it as the pair
#: `cursor=…` of JOB_ASSIGN_WITH. The verdict `yield` of WORK_FAILURE gives the job back at that point.
CHECKPOINT: Final = 1014
MAX_CURSOR_BYTES: Final = 64 << 10

#: OPTION_REQ name: a client wants to put jobs into batches, whose end submits others.
JOB_BATCHES_OPTION: Final = b"job-batches"

#: Opens a batch of jobs: id, pairs `on_complete=`, `on_success=`, `on_failure=`, each a submission (`job_pairs`).
OPEN_BATCH: Final = 1017
#: Adds no more jobs to a batch: id.
CLOSE_BATCH: Final = 1018
#: Asks for a batch: id.
GET_BATCH: Final = 1019
#: Closes a batch, and ends its jobs: id, `cancel`.
END_BATCH: Final = 1020
#: Answers these four: id, pairs with what is known of the batch.
BATCH: Final = 1021

#: OPTION_REQ name: a client wants to submit many background jobs in one packet.
SUBMIT_MANY_OPTION: Final = b"submit-many"

#: Submits background jobs that differ only in their workloads: function, priority (0 to 9), number of jobs (decimal
#: text), workloads (`packet.encode_workloads`).
SUBMIT_JOBS: Final = 1035
SUBMIT_JOBS_ARGUMENTS: Final = 4
#: The most jobs in one of them.
MAX_JOBS_SUBMITTED: Final = 200

#: Answers SUBMIT_JOBS: the handles of all its jobs, in their order. Or each of them is answered by a packet of its own,
#: JOB_CREATED or ERROR.
JOBS_CREATED: Final = 1036

#: The code of the ERROR that answers a submission with an option that is unknown, wrong or not allowed.
INVALID_OPTION: Final = b"INVALID_OPTION"

#: The code of the ERROR that answers a foreground submission whose id or unique key is that of a job that has ended.
DUPLICATE: Final = b"DUPLICATE"

#: OPTION_REQ name: the client wants to stop jobs.
JOB_STOP_OPTION: Final = b"job-stop"

#: Stops a job: its handle. The server answers with the same packet: handle, and one of the words below.
STOP_JOB: Final = 1015
STOP_JOB_ARGUMENTS: Final = 2

#: A server of a cluster makes itself known to another: that one's id, and the word that it has published in the store
#: that they share. It answers with the same packet: its id.
PEER_HELLO: Final = 1030

#: OPTION_REQ name: a worker, or its supervisor, wants to tell of jobs whose server is gone and that go on.
ORPHANED_JOBS_OPTION: Final = b"orphaned-jobs"

#: Sent by the server once `orphaned-jobs` is on: the id of its store. Its jobs' handles are known in no other.
STORE_ID: Final = 1031
#: A worker goes on with a job of a server that is gone: handle, client id of the worker (empty: this connection),
#: attempt (0: not known), milliseconds since it was begun (decimal text).
ORPHAN_RUNS: Final = 1032
ORPHAN_RUNS_ARGUMENTS: Final = 4
#: What this worker would send to the server that is gone: handle, attempt, whole WORK_* packets.
ORPHAN_WORK: Final = 1033
ORPHAN_WORK_ARGUMENTS: Final = 3
#: A worker has ended such a job without an answer: handle, client id of the worker.
ORPHAN_GONE: Final = 1034
ORPHAN_GONE_ARGUMENTS: Final = 2

#: OPTION_REQ name: a supervisor wants to hear which jobs of its workers are to be stopped.
JOB_STOPPING_OPTION: Final = b"job-stopping"

#: OPTION_REQ name: a worker that no supervisor watches wants to hear which of its own jobs are to be stopped.
OWN_STOPS_OPTION: Final = b"own-job-stopping"

#: Sent by the server once one of the two is on: client id and address of the worker's connection, handle of its job.
JOB_STOPPING: Final = 1016
JOB_STOPPING_ARGUMENTS: Final = 3
