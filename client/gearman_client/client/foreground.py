"""One foreground job as its client sees it: packets in, callbacks and finally the result out. It does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypedDict

from gearman_client.address import Address
from gearman_client.client.job_status import JobHandle, to_number
from gearman_client.errors import JobException, JobFailed, ProtocolError, ServerError
from gearman_client.packet import PacketType, split_arguments
from gearman_client.text import to_text


class JobCallbacks(TypedDict, total=False):
    """The callbacks for reports about a job; `Client.submit` calls them while it waits."""

    on_created: Callable[[JobHandle], object]
    on_status: Callable[[int, int], object]
    on_data: Callable[[bytes], object]
    on_warning: Callable[[bytes], object]
    on_exception: Callable[[bytes], object]


class ForegroundJob:
    """Pass every packet of the connection to `take` until `result` is set.

    Raises (from `take`):
        ServerError, JobFailed, JobException: the job was refused or failed.
        ProtocolError: a client should not get this packet.
    """

    def __init__(self, server: Address, callbacks: JobCallbacks) -> None:
        self.result: bytes | None = None
        self._server = server
        self._callbacks = callbacks
        self._handle: bytes | None = None
        self._handlers: Final[dict[int, Callable[[bytes], None]]] = {
            PacketType.WORK_COMPLETE: self._on_complete,
            PacketType.WORK_FAIL: self._on_fail,
            PacketType.WORK_EXCEPTION: self._on_exception,
            PacketType.WORK_STATUS: self._on_status,
            PacketType.WORK_DATA: self._on_data,
            PacketType.WORK_WARNING: self._on_warning,
        }

    @property
    def is_created(self) -> bool:
        """Whether the server has accepted the job."""
        return self._handle is not None

    def take(self, packet_type: int, body: bytes) -> None:
        """Take the next packet."""
        if packet_type == PacketType.JOB_CREATED and self._handle is None:
            self._handle = body
            created = self._callbacks.get("on_created")
            if created is not None:
                created(JobHandle(to_text(body), self._server))
        elif packet_type == PacketType.ERROR:
            raise server_error(body)
        else:
            handler = self._handlers.get(packet_type)
            if handler is None:
                raise ProtocolError(f"a client that waits for its job does not expect packet type {packet_type}")
            handler(body)

    def _mine(self, packet_type: PacketType, body: bytes) -> list[bytes] | None:
        """The arguments after the handle, if the packet is about this job.

        A packet of a handle alone has an empty text: Perl's worker sends such, and servers may pass it on as it came.
        """
        handle, *arguments = split_arguments(packet_type, body if b"\0" in body else body + b"\0")
        return arguments if handle == self._handle else None

    def _on_complete(self, body: bytes) -> None:
        arguments = self._mine(PacketType.WORK_COMPLETE, body)
        if arguments is not None:
            self.result = arguments[0]

    def _on_fail(self, body: bytes) -> None:
        # gearmand's substitute for an exception has a zero byte after the handle.
        if body.rstrip(b"\0") == self._handle:
            raise JobFailed(f"job {to_text(self._handle)} failed")

    def _on_exception(self, body: bytes) -> None:
        arguments = self._mine(PacketType.WORK_EXCEPTION, body)
        if arguments is not None:
            heard = self._callbacks.get("on_exception")
            if heard is not None:
                heard(arguments[0])
            raise JobException(arguments[0])

    def _on_status(self, body: bytes) -> None:
        arguments = self._mine(PacketType.WORK_STATUS, body)
        heard = self._callbacks.get("on_status")
        if arguments is not None and heard is not None:
            heard(to_number(arguments[0]), to_number(arguments[1]))

    def _on_data(self, body: bytes) -> None:
        arguments = self._mine(PacketType.WORK_DATA, body)
        heard = self._callbacks.get("on_data")
        if arguments is not None and heard is not None:
            heard(arguments[0])

    def _on_warning(self, body: bytes) -> None:
        arguments = self._mine(PacketType.WORK_WARNING, body)
        heard = self._callbacks.get("on_warning")
        if arguments is not None and heard is not None:
            heard(arguments[0])


def server_error(body: bytes) -> ServerError:
    """The error of an ERROR packet."""
    code, _, text = body.partition(b"\0")
    return ServerError(to_text(code), to_text(text))
