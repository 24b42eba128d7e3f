"""The blocking client: submits jobs, waits for their results, asks for their status.

Threads, greenlets and forked processes may share it: each request under way has connections of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import inf
from time import monotonic, time
from types import TracebackType
from typing import Final, Literal, Unpack

from gearman_client.address import Address, parse_addresses
from gearman_client.arguments import check_callbacks, to_limit, to_optional_seconds, to_seconds
from gearman_client.client.batch import submission_encoder, submit_all
from gearman_client.client.foreground import ForegroundJob, JobCallbacks, server_error
from gearman_client.client.job_status import JobHandle, JobStatus, to_number
from gearman_client.client.kept_result import KeptAnswer, ask_for_result
from gearman_client.client.run_time import run_time
from gearman_client.client.server_pool import PooledServer, PoolSettings, ServerPool, next_packets
from gearman_client.client.shared_pools import SharedPools
from gearman_client.connection.connection import Connection
from gearman_client.errors import (
    ArgumentError,
    ConnectionLost,
    CouldNotConnect,
    JobException,
    JobFailed,
    NotSupported,
    ProtocolError,
    ResultUnknown,
    ServerError,
    Timeout,
)
from gearman_client.extensions import JOB_RESULT_OPTION
from gearman_client.packet import PacketType, encode_request, split_arguments
from gearman_client.text import to_argument, to_body, to_function, to_text
from gearman_client.tls import Tls

Priority = Literal["high", "normal", "low"]

_FOREGROUND: Final[dict[str, PacketType]] = {
    "high": PacketType.SUBMIT_JOB_HIGH,
    "normal": PacketType.SUBMIT_JOB,
    "low": PacketType.SUBMIT_JOB_LOW,
}
_BACKGROUND: Final[dict[str, PacketType]] = {
    "high": PacketType.SUBMIT_JOB_HIGH_BG,
    "normal": PacketType.SUBMIT_JOB_BG,
    "low": PacketType.SUBMIT_JOB_LOW_BG,
}


class Client:
    """A client of one or several job servers; a context manager. Threads, greenlets and forked processes may share it.

    servers: `"host:port"`, several of them separated by commas, or a list.
    timeout_s: how long `submit` waits for a result by default; None: for ever. Every time is a number of seconds or a
        timedelta.
    connect_timeout_s: the limit for one server to accept a connection and to answer the first question.
    reply_timeout_s: the limit for the server's own answers (a job accepted, a status).
    exceptions: ask for the data of WORK_EXCEPTION; without it such jobs just fail.
    tls: for servers that speak TLS; an `Address` may have its own.

    Raises:
        AddressError: `servers` is not a list of addresses.
        ArgumentError: a time is none.
    """

    def __init__(
        self,
        servers: str | Address | Iterable[str | Address],
        *,
        timeout_s: timedelta | float | None = None,
        connect_timeout_s: timedelta | float = 5.0,
        reply_timeout_s: timedelta | float = 30.0,
        exceptions: bool = True,
        tls: Tls | None = None,
    ) -> None:
        self._timeout_s = to_optional_seconds(timeout_s, "timeout_s")
        self._reply_timeout_s = to_limit(reply_timeout_s, "reply_timeout_s")
        settings = PoolSettings(to_limit(connect_timeout_s, "connect_timeout_s"), self._reply_timeout_s, exceptions)
        addresses = parse_addresses(servers, tls)
        self._pools = SharedPools(lambda: ServerPool(addresses, settings))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        function: str,
        workload: bytes | str,
        *,
        unique: str | None = None,
        priority: Priority = "normal",
        timeout_s: timedelta | float | None = None,
        **callbacks: Unpack[JobCallbacks],
    ) -> bytes:
        """Run a job and return its result, the body of WORK_COMPLETE; WORK_DATA goes only to `on_data`.

        unique: jobs of one function with equal ids are one job, and all its clients get the result. None sends an empty
            id, which makes a separate job.
        timeout_s: in seconds. When it has passed the connection is closed, which abandons the job.

        Raises:
            JobFailed, JobException: the worker reported a failure (JobException carries its data).
            Timeout: no result in time.
            ServerError: the server refused the job, for instance with QUEUE_ERROR.
            ConnectionLost: the server went away; it is not known whether the job ran.
            CouldNotConnect: no server can be reached.
            ArgumentError: a name, an id or the workload can't be sent, or the time is none.
            TypeError: there is no such keyword argument.
        """
        check_callbacks("submit", callbacks, JobCallbacks.__annotations__, ("unique", "priority", "timeout_s"))
        packet, unique_id = _submission(_FOREGROUND, function, workload, unique, priority)
        timeout_s = self._timeout_s if timeout_s is None else to_seconds(timeout_s, "timeout_s")
        deadline = inf if timeout_s is None else monotonic() + timeout_s
        with self._pools.lend() as pool:
            server, connection = pool.choose(unique_id)
            return self._run(server, connection, packet, deadline, callbacks)

    def _run(
        self, server: PooledServer, connection: Connection, packet: bytes, deadline: float, callbacks: JobCallbacks
    ) -> bytes:
        job = ForegroundJob(server.address, callbacks)
        with _conversation(server):
            connection.queue(packet)
            connection.flush()
            created_by = min(deadline, monotonic() + self._reply_timeout_s)
            while job.result is None:
                for packet_type, body in next_packets(connection, deadline if job.is_created else created_by):
                    job.take(packet_type, body)
                    if job.result is not None:
                        break
            return job.result

    def submit_background(
        self,
        function: str,
        workload: bytes | str,
        *,
        unique: str | None = None,
        priority: Priority = "normal",
        at: datetime | float | None = None,
        delay: timedelta | float | None = None,
    ) -> JobHandle:
        """Leave a job with the server and return its handle, a `str` that also knows its server.

        at: do not run the job before this time, a datetime (without a zone: local time) or Unix seconds.
        delay: do not run the job for this long (a timedelta or seconds).

        The protocol counts whole seconds, so `at` and `delay` are rounded up; it allows them only with normal priority.

        Raises:
            ServerError, Timeout, ConnectionLost, CouldNotConnect, ArgumentError: as `submit`.
        """
        run_at = run_time(at, delay, time())
        if run_at is None:
            packet, unique_id = _submission(_BACKGROUND, function, workload, unique, priority)
        else:
            packet, unique_id = _delayed_submission(function, workload, unique, priority, run_at)
        with self._pools.lend() as pool:
            server, connection = pool.choose(unique_id)
            (handle,) = self._ask(server, connection, packet, PacketType.JOB_CREATED)
        return JobHandle(to_text(handle), server.address)

    def submit_background_many(
        self, function: str, workloads: Iterable[bytes | str], *, priority: Priority = "normal"
    ) -> list[JobHandle]:
        """Leave many jobs with one server, and return their handles in the same order.

        The client does not wait for each answer, so this takes a fraction of the time of as many calls of
        `submit_background`. The workloads may come from a generator: only a portion of them is held at once.

        Raises:
            PartlyRefused: the server refused some; `accepted` of the exception has the handles of the others.
            ConnectionLost, Timeout: it is not known which jobs of the last portion (at most 200) the server has.
            CouldNotConnect, ArgumentError: as `submit`.
        """
        if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(workloads, Iterable):
            raise ArgumentError(f"workloads: expected a list or another iterable, not {type(workloads).__name__}")
        encode = submission_encoder(_packet_type(_BACKGROUND, priority), to_function(function))
        packets = (encode(to_body(workload)) for workload in workloads)
        with self._pools.lend() as pool:
            server, connection = pool.choose(b"")
            with _conversation(server):
                return submit_all(connection, packets, self._reply_timeout_s)

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
        check_callbacks("result", callbacks, JobCallbacks.__annotations__, ("timeout_s",))
        argument = to_argument(handle, "handle")
        wait_s = self._timeout_s if timeout_s is None else to_seconds(timeout_s, "timeout_s")
        with self._pools.lend() as pool:
            servers = _home_of(handle, pool)
            server = servers[0] if len(servers) == 1 else self._find_holder(pool, servers, argument)
            if server is None:
                raise ResultUnknown(f"job {handle}: no server has a result, there was no such job or it is long over")
            return self._ask_for_result(pool, server, argument, wait_s, callbacks).result_of(handle)

    def _find_holder(self, pool: ServerPool, servers: list[PooledServer], handle: bytes) -> PooledServer | None:
        """The server that knows the job; None when all servers answer that they do not know it."""
        failure = None
        for server in servers:
            try:
                if self._ask_for_result(pool, server, handle, 0, {}).is_known:
                    return server
            except (ConnectionLost, CouldNotConnect, NotSupported, Timeout) as error:
                failure = error
        if failure is not None:
            raise failure
        return None

    def _ask_for_result(
        self, pool: ServerPool, server: PooledServer, handle: bytes, wait_s: float | None, callbacks: JobCallbacks
    ) -> KeptAnswer:
        connection = pool.connection(server)
        if not server.tells_results:
            option = encode_request(PacketType.OPTION_REQ, JOB_RESULT_OPTION)
            try:
                self._ask(server, connection, option, PacketType.OPTION_RES)
            except ServerError as error:
                raise NotSupported(
                    f"{server.address} keeps no results of background jobs: gearman-server does"
                ) from error
            server.tells_results = True
        with _conversation(server):
            return ask_for_result(connection, handle, wait_s, self._reply_timeout_s, callbacks)

    def status(self, handle: str) -> JobStatus:
        """The status of a job. With a handle that names no server, every server that can be reached is asked.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
        """
        packet = encode_request(PacketType.GET_STATUS, to_argument(handle, "handle"))
        with self._pools.lend() as pool:
            return self._find_status(pool, _home_of(handle, pool), packet, PacketType.STATUS_RES)

    def status_unique(self, unique: str) -> JobStatus:
        """The status of the job with this unique id, of any function, and the number of clients that wait for it.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
        """
        packet = encode_request(PacketType.GET_STATUS_UNIQUE, to_argument(unique, "unique id"))
        with self._pools.lend() as pool:
            return self._find_status(pool, pool.servers, packet, PacketType.STATUS_RES_UNIQUE)

    def echo(self, data: bytes | str = b"ping") -> bytes:
        """Send bytes to the first server that can be reached, and return its answer, the same bytes."""
        request = encode_request(PacketType.ECHO_REQ, to_body(data))
        with self._pools.lend() as pool:
            server, connection = pool.choose(b"")
            return self._ask(server, connection, request, PacketType.ECHO_RES)[0]

    def ping(self) -> tuple[Address, ...]:
        """The servers that answer."""
        request = encode_request(PacketType.ECHO_REQ, b"ping")
        answering = []
        with self._pools.lend() as pool:
            for server in pool.servers:
                try:
                    self._ask(server, pool.connection(server), request, PacketType.ECHO_RES)
                except (ConnectionLost, CouldNotConnect, ProtocolError, Timeout):
                    continue
                answering.append(server.address)
        return tuple(answering)

    def close(self) -> None:
        """Close all connections; requests under way are finished, and another one would open them again."""
        self._pools.close()

    def _find_status(
        self, pool: ServerPool, servers: Sequence[PooledServer], packet: bytes, answer: PacketType
    ) -> JobStatus:
        status, failure = None, None
        for server in servers:
            try:
                status = _to_status(self._ask(server, pool.connection(server), packet, answer))
            except (ConnectionLost, CouldNotConnect, Timeout) as error:
                failure = error
                continue
            if status.known:
                break
        if status is None:
            raise failure or CouldNotConnect("no job server to ask")
        return status

    def _ask(self, server: PooledServer, connection: Connection, packet: bytes, answer: PacketType) -> list[bytes]:
        """Send one request and return the arguments of its answer."""
        with _conversation(server):
            connection.queue(packet)
            connection.flush()
            packet_type, body = next_packets(connection, monotonic() + self._reply_timeout_s)[0]
            if packet_type == PacketType.ERROR:
                raise server_error(body)
            if packet_type != answer:
                raise ProtocolError(f"{connection.address} answered with packet type {packet_type}, not {answer.name}")
            return split_arguments(packet_type, body)


def _home_of(handle: str, pool: ServerPool) -> list[PooledServer]:
    """The server that gave the handle; all servers when it is not known."""
    home = getattr(handle, "server", None)
    return [server for server in pool.servers if server.address == home] or list(pool.servers)


@contextmanager
def _conversation(server: PooledServer) -> Iterator[None]:
    """Close the connection unless the request ended with its last packet: the next one must find no rest of it."""
    try:
        yield
    except (JobException, JobFailed, ServerError):
        raise  # this was the last packet of the request: the connection is clean
    except BaseException:
        server.drop()
        raise


def _submission(
    types: dict[str, PacketType], function: str, workload: bytes | str, unique: str | None, priority: str
) -> tuple[bytes, bytes]:
    packet_type = _packet_type(types, priority)
    unique_id = to_argument("" if unique is None else unique, "unique id")
    return encode_request(packet_type, to_function(function), unique_id, to_body(workload)), unique_id


def _delayed_submission(
    function: str, workload: bytes | str, unique: str | None, priority: str, run_at: int
) -> tuple[bytes, bytes]:
    if priority != "normal":
        raise ArgumentError(f"priority {priority!r}: the protocol knows delayed jobs of normal priority alone")
    unique_id = to_argument("" if unique is None else unique, "unique id")
    arguments = to_function(function), unique_id, b"%d" % run_at, to_body(workload)
    return encode_request(PacketType.SUBMIT_JOB_EPOCH, *arguments), unique_id


def _packet_type(types: dict[str, PacketType], priority: str) -> PacketType:
    packet_type = types.get(priority) if isinstance(priority, str) else None
    if packet_type is None:
        raise ArgumentError(f"priority {priority!r}: expected high, normal or low")
    return packet_type


def _to_status(arguments: list[bytes]) -> JobStatus:
    _, known, running, numerator, denominator, *clients = arguments
    return JobStatus(
        known=known == b"1",
        running=running == b"1",
        numerator=to_number(numerator),
        denominator=to_number(denominator),
        waiting_clients=to_number(clients[0]) if clients else None,
    )
