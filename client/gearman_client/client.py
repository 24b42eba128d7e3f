"""The blocking client: submits jobs, waits for their results, asks how they are doing. One request at a time.

A program that submits from several threads gives each a client of its own.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, Literal, Unpack

from gearman_client.address import Address, parse_addresses
from gearman_client.batch import submission_encoder, submit_all
from gearman_client.connection import Connection
from gearman_client.errors import (
    ArgumentError,
    ConnectionLost,
    CouldNotConnect,
    JobException,
    JobFailed,
    ProtocolError,
    ServerError,
    Timeout,
)
from gearman_client.foreground import ForegroundJob, JobCallbacks, server_error
from gearman_client.job_status import JobHandle, JobStatus, to_number
from gearman_client.packet import PacketType, encode_request, split_arguments
from gearman_client.server_pool import PooledServer, PoolSettings, ServerPool, next_packets
from gearman_client.text import to_argument, to_body, to_function, to_text

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
    """Client of one or several job servers; a context manager.

    servers: `"host:port"`, several of them separated by commas, or a list.
    timeout_s: how long `submit` waits for a result unless told otherwise; None: for ever.
    connect_timeout_s: for one server to accept a connection and to answer the first question.
    reply_timeout_s: for the server's own answers (a job accepted, a status).
    exceptions: ask for the data of WORK_EXCEPTION; without it such jobs just fail.

    Raises:
        AddressError: `servers` is no list of addresses.
    """

    def __init__(
        self,
        servers: str | Address | Iterable[str | Address],
        *,
        timeout_s: float | None = None,
        connect_timeout_s: float = 5.0,
        reply_timeout_s: float = 30.0,
        exceptions: bool = True,
    ) -> None:
        self._timeout_s = timeout_s
        self._reply_timeout_s = reply_timeout_s
        self._pool = ServerPool(parse_addresses(servers), PoolSettings(connect_timeout_s, reply_timeout_s, exceptions))

    def __enter__(self) -> "Client":
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
        timeout_s: float | None = None,
        **callbacks: Unpack[JobCallbacks],
    ) -> bytes:
        """Run a job and return its result: the body of WORK_COMPLETE; WORK_DATA goes to `on_data` alone.

        unique: equal ids of one function are one job, whose result all its clients get. None sends an empty id: a job
            of its own. `timeout_s` in seconds; when it has passed the connection is closed, which abandons the job.

        Raises:
            JobFailed, JobException: the worker said so (JobException carries its data).
            Timeout: no result in time.
            ServerError: the server refused the job, for instance QUEUE_ERROR.
            ConnectionLost: the server went away; whether the job ran is not known.
            CouldNotConnect: no server can be reached.
            ArgumentError: a name or id can't be sent.
        """
        packet, unique_id = _submission(_FOREGROUND, function, workload, unique, priority)
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = inf if timeout_s is None else monotonic() + timeout_s
        server, connection = self._pool.choose(unique_id)
        job = ForegroundJob(server.address, callbacks)
        with _conversation(server):
            connection.queue(packet)
            connection.flush()
            created_by = min(deadline, monotonic() + self._reply_timeout_s)
            while job.result is None:
                for packet_type, body in next_packets(connection, deadline if job.created else created_by):
                    job.take(packet_type, body)
                    if job.result is not None:
                        break
            return job.result

    def submit_background(
        self, function: str, workload: bytes | str, *, unique: str | None = None, priority: Priority = "normal"
    ) -> JobHandle:
        """Leave a job with the server and return its handle, a `str` that also knows its server.

        Raises:
            ServerError, Timeout, ConnectionLost, CouldNotConnect, ArgumentError: as `submit`.
        """
        packet, unique_id = _submission(_BACKGROUND, function, workload, unique, priority)
        server, connection = self._pool.choose(unique_id)
        (handle,) = self._ask(server, connection, packet, PacketType.JOB_CREATED)
        return JobHandle(to_text(handle), server.address)

    def submit_background_many(
        self, function: str, workloads: Iterable[bytes | str], *, priority: Priority = "normal"
    ) -> list[JobHandle]:
        """Leave many jobs with one server; returns their handles in the same order.

        They are sent without waiting for each answer, so this takes a fraction of the time of as many
        `submit_background`. The workloads may come from a generator: only a portion of them is held at once.

        Raises:
            PartlyRefused: the server refused some; its `accepted` has the handles of the others.
            ConnectionLost, Timeout: it is not known which jobs of the last portion (at most 200) the server has.
            CouldNotConnect, ArgumentError: as `submit`.
        """
        encode = submission_encoder(_packet_type(_BACKGROUND, priority), to_function(function))
        packets = (encode(to_body(workload)) for workload in workloads)
        server, connection = self._pool.choose(b"")
        with _conversation(server):
            return submit_all(connection, packets, self._reply_timeout_s)

    def status(self, handle: str) -> JobStatus:
        """How the job is doing. A handle from elsewhere is asked for at every server that can be reached.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
        """
        packet = encode_request(PacketType.GET_STATUS, to_argument(handle, "handle"))
        home = getattr(handle, "server", None)
        servers = [server for server in self._pool.servers if server.address == home] or list(self._pool.servers)
        return self._find_status(servers, packet, PacketType.STATUS_RES)

    def status_unique(self, unique: str) -> JobStatus:
        """How the job with this unique id is doing, and how many clients wait for it; any function's job counts.

        Raises:
            CouldNotConnect, ConnectionLost, Timeout: no server could be asked.
        """
        packet = encode_request(PacketType.GET_STATUS_UNIQUE, to_argument(unique, "unique id"))
        return self._find_status(list(self._pool.servers), packet, PacketType.STATUS_RES_UNIQUE)

    def echo(self, data: bytes | str = b"ping") -> bytes:
        """What the first server that can be reached sends back: the same bytes."""
        server, connection = self._pool.choose(b"")
        request = encode_request(PacketType.ECHO_REQ, to_body(data))
        return self._ask(server, connection, request, PacketType.ECHO_RES)[0]

    def ping(self) -> tuple[Address, ...]:
        """The servers that answer."""
        request = encode_request(PacketType.ECHO_REQ, b"ping")
        answering = []
        for server in self._pool.servers:
            try:
                self._ask(server, self._pool.connection(server), request, PacketType.ECHO_RES)
            except (ConnectionLost, CouldNotConnect, ProtocolError, Timeout):
                continue
            answering.append(server.address)
        return tuple(answering)

    def close(self) -> None:
        """Close all connections; the next request would open them again."""
        self._pool.close()

    def _find_status(self, servers: list[PooledServer], packet: bytes, answer: PacketType) -> JobStatus:
        status, failure = None, None
        for server in servers:
            try:
                status = _to_status(self._ask(server, self._pool.connection(server), packet, answer))
            except (ConnectionLost, CouldNotConnect, Timeout) as error:
                failure = error
                continue
            if status.known:
                break
        if status is None:
            raise failure or CouldNotConnect("no job server to ask")
        return status

    def _ask(self, server: PooledServer, connection: Connection, packet: bytes, answer: PacketType) -> list[bytes]:
        """One request, one answer; its arguments."""
        with _conversation(server):
            connection.queue(packet)
            connection.flush()
            packet_type, body = next_packets(connection, monotonic() + self._reply_timeout_s)[0]
            if packet_type == PacketType.ERROR:
                raise server_error(body)
            if packet_type != answer:
                raise ProtocolError(f"{connection.address} answered with packet type {packet_type}, not {answer.name}")
            return split_arguments(packet_type, body)


@contextmanager
def _conversation(server: PooledServer) -> Iterator[None]:
    """However a request ends, nothing of it may be left on the connection for the next one."""
    try:
        yield
    except (JobException, JobFailed, ServerError):
        raise  # the last packet of this request: the connection is clean
    except BaseException:
        server.drop()
        raise


def _submission(
    types: dict[str, PacketType], function: str, workload: bytes | str, unique: str | None, priority: str
) -> tuple[bytes, bytes]:
    packet_type = _packet_type(types, priority)
    unique_id = to_argument(unique or "", "unique id")
    return encode_request(packet_type, to_function(function), unique_id, to_body(workload)), unique_id


def _packet_type(types: dict[str, PacketType], priority: str) -> PacketType:
    packet_type = types.get(priority)
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
