"""The blocking client: submits jobs, waits for their results, asks for their status.

Threads, greenlets and forked processes may share it: each request under way has connections of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import replace
from datetime import timedelta
from math import inf
from time import monotonic, time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from gearman_client.address import Address, default_servers, parse_addresses
from gearman_client.arguments import check_options, to_seconds
from gearman_client.client.attempts import Limits
from gearman_client.client.batch import check_workloads, submit_all
from gearman_client.client.calls import answering, ask_any, find_status, leave_job, run_job, status_of, stop
from gearman_client.client.codec import Codec
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_status import JobHandle, JobStatus
from gearman_client.client.kept_result import fetch_result
from gearman_client.client.many_jobs import ManyJobs, ResultT, WorkloadT
from gearman_client.client.options import (
    BackgroundOptions,
    ClientOptions,
    ForegroundOptions,
    ManyOptions,
    client_settings,
)
from gearman_client.client.server_pool import PoolSettings, ServerPool
from gearman_client.client.shared_pools import SharedPools
from gearman_client.client.submission import UNSET, Unset, when
from gearman_client.connection.roster import Roster
from gearman_client.packet import PacketType, encode_request
from gearman_client.text import to_body, to_identifier

if TYPE_CHECKING:
    from gearman_client.client.batch_packets import BatchStatus
    from gearman_client.client.job_batch import JobBatch
    from gearman_client.client.job_options import Follower
    from gearman_client.client.remote_task import RemoteTask


class Client(ManyJobs[WorkloadT, ResultT]):
    """A client of one or several job servers; a context manager. Threads, greenlets and forked processes may share it.

    servers: `"host:port"`, several of them separated by commas, or a list; None: those that the environment variable
        GEARMAN_SERVERS names, else the one on this machine.
    codec: makes workloads and results of other values; None: workloads are bytes or text, results are bytes.
    options: `ClientOptions` explains them.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: an option has a value that it can't have.
        TypeError: there is no such option.
    """

    @overload
    def __init__(
        self: Client[bytes | str, bytes],
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: None = None,
        **options: Unpack[ClientOptions],
    ) -> None: ...

    @overload
    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: Codec[WorkloadT, ResultT],
        **options: Unpack[ClientOptions],
    ) -> None: ...

    def __init__(
        self,
        servers: str | Address | Iterable[str | Address] | None = None,
        *,
        codec: Codec[Any, Any] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        settings = client_settings("Client", codec, options)
        self._timeout_s = settings.timeout_s
        self._reply_timeout_s = settings.reply_timeout_s
        self._submissions = settings.submissions
        addresses = parse_addresses(default_servers(os.environ) if servers is None else servers, settings.tls)
        self._roster = roster = Roster(addresses)
        pool_settings = PoolSettings(*settings.bounds, roster if settings.discover else None)
        self._pool_settings = pool_settings
        self._pools = SharedPools(lambda: ServerPool(addresses, pool_settings), pool_settings.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def submit(self, function: str, workload: WorkloadT, **options: Unpack[ForegroundOptions]) -> ResultT: ...

    @overload
    def submit(self, function: str, *, json: Any, **options: Unpack[ForegroundOptions]) -> Any: ...

    def submit(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[ForegroundOptions],
    ) -> Any:
        """Run a job and return its result, the body of WORK_COMPLETE; WORK_DATA goes only to `on_data`.

        workload: bytes or text, or what the client's codec takes; the result comes through the codec too.
        json: instead of a workload, a value to send as JSON; the result is the value of the JSON that comes back.
        unique: jobs of one function with equal ids are one job, and all its clients get the result. `"-"`: the workload
            is the id. None sends an empty id, which makes a separate job.
        priority: `"high"`, `"normal"` or `"low"`, or a number from 0 to 9, the most urgent.
        reducer: the function that joins the results of the job's parts (SUBMIT_REDUCE_JOB).
        at, delay, retries, and the options of `JobOptions`: enforced by gearman-server.
        timeout_s: the limit of the whole call. When it has passed the connection is closed, which abandons the job.
        resubmit: submit the job again, to another server if there is one, when its server was lost (True). It may then
            run twice.
        on_created, on_status, on_data, on_warning, on_exception: callbacks; they get bytes as they arrived.

        Raises:
            JobFailed, JobException: the worker reported a failure (JobException carries its data).
            Timeout: no result in time. Without any time nothing is sent.
            ResultNotDecoded: the job is done, but its result is not what the codec, or JSON, can be.
            ServerError: the server refused the job, for instance with QUEUE_ERROR, or INVALID_OPTION.
            NotSupported: the server does not know an option of the job, which was not sent.
            ConnectionLost: the server went away, and no other one took the job in time; it may have run.
            CouldNotConnect: no server can be reached; the text has the address and the reason of each.
            ArgumentError: a name, an id or the workload can't be sent, or the time is none.
            TypeError: there is no such keyword argument, or no workload.
        """
        check_options("submit", options, ForegroundOptions.__annotations__, ("function", "workload", "json"))
        submission = self._submissions.foreground(function, workload, json, options)
        limits = self._limits(options.get("timeout_s"))
        with self._pools.lend() as pool:
            result = run_job(pool, submission, options, limits, resubmit=options.get("resubmit", True))
        return submission.codec.decode(result)

    def submit_background(
        self,
        function: str,
        workload: WorkloadT | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[BackgroundOptions],
    ) -> JobHandle:
        """Leave a job with the server and return its handle, a `str` that also knows its server.

        workload, json, unique, priority, reducer: as `submit`.
        at: do not run the job before this time, a datetime (without a zone: local time) or Unix seconds.
        delay: do not run the job for this long: a timedelta, seconds, or a text as `"5m"`.
        retries, and the options of `JobOptions`: enforced by gearman-server.
        timeout_s: the limit of the whole call.

        With a `submission`, a job whose acknowledgement was lost is submitted again to the same server, within the time
        of the call, and stays one job.

        Raises:
            JobNotKnown: the server went away, or said nothing, before it acknowledged the job: it may exist, or not.
            ServerError, CouldNotConnect, ArgumentError, TypeError: as `submit`; there is no such job.
        """
        check_options("submit_background", options, BackgroundOptions.__annotations__, ("function", "workload", "json"))
        submission = self._submissions.background(function, workload, json, options, when(options, time()))
        with self._pools.lend() as pool:
            return leave_job(pool, submission, function, self._limits(options.get("timeout_s")))

    def submit_background_many(
        self,
        function: str,
        workloads: Iterable[WorkloadT],
        **options: Unpack[ManyOptions],
    ) -> list[JobHandle]:
        """Leave many jobs with one server, and return their handles in the same order.

        The client does not wait for each answer, so this takes a fraction of the time of as many calls of
        `submit_background`. The workloads may come from a generator: only a portion of them is held at once. The
        options hold for each job; `unique`, `reducer` and `submission` are not among them.

        Raises:
            PartlyRefused: the server refused some; `accepted` of the exception has the handles of the others.
            JobNotKnown: it is not known which jobs of the last portion (at most 200) the server has; `accepted` has the
                handles of the others.
            CouldNotConnect, ArgumentError: as `submit`.
        """
        check_workloads(workloads)
        check_options("submit_background_many", options, ManyOptions.__annotations__, ("function", "workloads"))
        jobs = self._submissions.many(function, options, when(options, time()))
        with self._pools.lend() as pool:
            return submit_all(pool, jobs, workloads, self._limits(options.get("timeout_s")))

    def batch(
        self,
        *,
        on_complete: Follower | None = None,
        on_success: Follower | None = None,
        on_failure: Follower | None = None,
        id: str | None = None,
        timeout_s: timedelta | float | None = None,
    ) -> JobBatch[WorkloadT]:
        """Open a batch of background jobs, for a `with` that adds jobs and closes it.

        on_complete, on_success, on_failure: the functions, or `FollowUp`s, that are submitted, each exactly once, when
            the batch is closed and its last job has ended; the second if all are complete, else the third. Without a
            workload of their own they get JSON with the numbers.
        id: a text that names it; None: a random one.

        Raises:
            NotSupported: the job server is not gearman-server.
            ServerError: INVALID_BATCH, there is another one of this id, or there are too many.
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: a value that can't be.
        """
        from gearman_client.client.batch_packets import open_packet

        callbacks = {"on_complete": on_complete, "on_success": on_success, "on_failure": on_failure}
        name, packet = open_packet(id, callbacks)
        server, _ = self._ask_about_batch(None, packet, timeout_s)
        return self._batch_at(name, server)

    def batch_status(
        self,
        id: str,
        *,
        server: Address | None = None,
        timeout_s: timedelta | float | None = None,
    ) -> BatchStatus:
        """What a server knows of a batch of jobs: the first that can be reached, or this one."""
        from gearman_client.client.batch_packets import request_packet

        return self._ask_about_batch(server, request_packet(id, "get"), timeout_s)[1]

    def _batch_at(self, name: str, server: Address) -> JobBatch[WorkloadT]:
        from gearman_client.client.job_batch import JobBatch

        def submit(function: str, workload: Any, json: Any, options: BackgroundOptions) -> JobHandle:
            check_options("background", options, BackgroundOptions.__annotations__, ("function", "workload", "json"))
            submission = self._submissions.background(function, workload, json, options, when(options, time()))
            with self._pools.lend() as pool:
                return leave_job(pool, submission, function, self._limits(options.get("timeout_s")), pool.at(server))

        def submit_many(function: str, workloads: Iterable[Any], options: ManyOptions) -> list[JobHandle]:
            check_workloads(workloads)
            check_options("background_many", options, ManyOptions.__annotations__, ("function", "workloads"))
            jobs = self._submissions.many(function, options, when(options, time()))
            with self._pools.lend() as pool:
                return submit_all(pool, jobs, workloads, self._limits(options.get("timeout_s")), pool.at(server))

        return JobBatch(
            name, server, submit, submit_many, lambda packet: self._ask_about_batch(server, packet, None)[1]
        )

    def _ask_about_batch(
        self, server: Address | None, packet: bytes, timeout_s: timedelta | float | None
    ) -> tuple[Address, BatchStatus]:
        from gearman_client.client.job_batch import ask_about_batch

        with self._pools.lend() as pool:
            only = None if server is None else pool.at(server)
            return ask_about_batch(pool, only, packet, self._limits(timeout_s))

    def result(
        self, handle: str, *, timeout_s: timedelta | float | None = None, **callbacks: Unpack[JobCallbacks]
    ) -> bytes:
        """The result of a background job whose function has `keep_result`; waits for it if necessary.

        handle: from `submit_background`. With any other text, every server is asked.
        timeout_s: 0 does not wait; None waits as long as the client's `timeout_s`. When the time is over the job goes
            on, and its result can be asked for again.
        callbacks: they get the worker's reports before the result, as with `submit`.

        Raises:
            JobFailed, JobException: the job has failed.
            Timeout: there is no result yet.
            ResultExpired: the result was kept, and has expired.
            ResultUnknown: the job never existed, or it ended long ago.
            ResultNotKept: the function has no `keep_result`, or the result was too large.
            NotSupported: the job server is not gearman-server.
            CouldNotConnect, ConnectionLost: no server could be asked; the connection broke.
            ArgumentError: the handle is no text, or the time is none.
            TypeError: there is no such keyword argument.
        """
        check_options("result", callbacks, JobCallbacks.__annotations__, ("handle", "timeout_s"))
        waits = timeout_s is None or to_seconds(timeout_s, "timeout_s") > 0
        if waits:
            self._submissions.check_result(handle)
        limits = self._limits(timeout_s) if waits else self._limits(inf)
        with self._pools.lend() as pool:
            return fetch_result(pool, handle, callbacks, limits, waits=waits)

    def status(self, handle: str, *, timeout_s: timedelta | float | None = None) -> JobStatus:
        """The status of a job. With a handle that names no server, all servers that can be reached are asked at once.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: the handle is longer than 63 bytes, or is no text.
        """
        with self._pools.lend() as pool:
            return status_of(pool, handle, self._limits(timeout_s))

    def status_unique(self, unique: str, *, timeout_s: timedelta | float | None = None) -> JobStatus:
        """The status of the job with this unique id, of any function, and the number of clients that wait for it.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: the id is longer than 63 bytes, or is no text.
        """
        packet = encode_request(PacketType.GET_STATUS_UNIQUE, to_identifier(unique, "unique id"))
        with self._pools.lend() as pool:
            return find_status(pool, pool.servers, packet, PacketType.STATUS_RES_UNIQUE, self._limits(timeout_s))

    def stop(self, handle: str, *, timeout_s: timedelta | float | None = None) -> bool:
        """Stop a job: one that waits is cancelled, one that runs is interrupted by its manager. It is not tried again.

        Clients that wait for it get JobException with the data `stopped`, or JobFailed without `exceptions`. With a
        handle that names no server, all servers are asked. Returns whether there was such a job; a True is certain:
        the job is not run again, whatever becomes of the server. The function may still be cleaning up.

        Raises:
            NotSupported: the job server is not gearman-server.
            ServerError: NOT_ALLOWED, this machine may not; the server's `--admin-allow` says who may.
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
            ArgumentError: the handle is longer than 63 bytes, or is no text.
        """
        with self._pools.lend() as pool:
            return stop(pool, handle, self._limits(timeout_s))

    @property
    def servers(self) -> tuple[Address, ...]:
        """The servers that are known now: those that were given, and those that they have told of."""
        return self._roster.known.addresses

    def with_codec(self, codec: Codec[Any, Any]) -> Client[Any, Any]:
        """A client with another codec, and with the settings and the connections of this one."""
        other = copy(self)
        other._submissions = replace(self._submissions, codec=codec)
        other._futures = None
        return other

    def check_waits(self, check: Callable[[str], None] | None) -> None:
        """Have `check` called with a function's name before its job, or the result of its job, is awaited.

        It raises an exception to refuse that.

        The manager uses this: a function must not wait for its own pool.
        """
        self._submissions = replace(self._submissions, check_wait=check)

    def task(self, name: str, *, result: Any = Any) -> RemoteTask[Any]:
        """A function that is a task on its workers, for a process without its module.

        result: the type of its result, as the function's annotation would say; Any: as JSON has it.

        Raises:
            ArgumentError: the name can't be sent.
            UnsupportedAnnotation: JSON has no form for such a result.
        """
        from gearman_client.client.remote_task import remote_task

        return remote_task(self, name, result)

    def echo(self, data: bytes | str = b"ping", *, timeout_s: timedelta | float | None = None) -> bytes:
        """Send bytes to the first server that can be reached, and return its answer, the same bytes.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server answers.
        """
        request = encode_request(PacketType.ECHO_REQ, to_body(data))
        with self._pools.lend() as pool:
            return ask_any(pool, request, PacketType.ECHO_RES, self._limits(timeout_s))

    def ping(self, *, timeout_s: timedelta | float | None = None) -> tuple[Address, ...]:
        """The servers that answer; all are asked at once."""
        with self._pools.lend() as pool:
            return answering(pool, self._limits(timeout_s))

    def close(self) -> None:
        """Close all connections; requests under way are finished, and another one would open them again."""
        self._pools.close()

    def _limits(self, timeout_s: timedelta | float | None) -> Limits:
        """The limits of a call that begins now."""
        seconds = self._timeout_s if timeout_s is None else to_seconds(timeout_s, "timeout_s")
        deadline = inf if seconds is None else monotonic() + seconds
        return Limits(deadline, self._reply_timeout_s, self._pool_settings.connect_timeout_s)
