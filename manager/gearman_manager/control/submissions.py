"""Submits a background job for an operator: to the first job server that takes it, on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import gevent

from gearman_client import Address, ArgumentError, GearmanError
from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType, encode_request, split_arguments
from gearman_client.text import to_argument, to_function, to_text
from gearman_manager.errors import ManagerError, NotNow, Unreachable
from gearman_manager.job_servers.connection import connect_to

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 8.0
_PACKETS: Final = {
    "high": PacketType.SUBMIT_JOB_HIGH_BG,
    "normal": PacketType.SUBMIT_JOB_BG,
    "low": PacketType.SUBMIT_JOB_LOW_BG,
}
_RECEIVE_BYTES: Final = 4096
_MAX_ANSWER_BYTES: Final = 64 * 1024


class Submissions:
    """Submits jobs to the servers in the order in which they are configured."""

    def __init__(self, addresses: Callable[[], Sequence[Address]]) -> None:
        self._addresses = addresses

    def submit(self, function: str, workload: bytes, unique: str = "", priority: str = "normal") -> str:
        """Leave a background job; returns its handle.

        Raises:
            ManagerError: as `Line.submit`.
        """
        with self.line() as line:
            return line.submit(function, workload, unique, priority)

    @contextmanager
    def line(self) -> Iterator[Line]:
        """What submits several jobs over one connection."""
        line = Line(self._addresses)
        try:
            yield line
        finally:
            line.close()


class Line:
    """A connection to the first server that could be reached when it was needed."""

    def __init__(self, addresses: Callable[[], Sequence[Address]]) -> None:
        self._addresses = addresses
        self._open: tuple[Address, Any, PacketParser] | None = None

    def submit(self, function: str, workload: bytes, unique: str = "", priority: str = "normal") -> str:
        """Leave a background job; returns its handle.

        Raises:
            Unreachable: no server can be asked. After one that took the job and did not answer no other is tried.
            NotNow: the server refuses the job, for example because its queue is full.
            ManagerError: there can be no job with this function or this unique key.
        """
        try:
            arguments = (to_function(function), to_argument(unique, "unique key"), workload)
        except ArgumentError as error:
            raise ManagerError(str(error)) from error
        if self._open is None:
            self._open = self._connected()
        try:
            return _ask(*self._open, encode_request(_PACKETS[priority], *arguments))
        except NotNow:
            raise
        except BaseException:  # an answer that comes later would be taken for that of the next job
            self.close()
            raise

    def _connected(self) -> tuple[Address, Any, PacketParser]:
        failed = []
        for address in self._addresses():
            try:
                parser = PacketParser(RESPONSE_MAGIC, max_body_bytes=_MAX_ANSWER_BYTES)
                return address, connect_to(address, CONNECT_TIMEOUT_S), parser
            except (OSError, GearmanError) as error:
                failed.append(f"the job server {address} can't be reached: {error}")
        raise Unreachable("; ".join(failed) or "there is no job server")

    def close(self) -> None:
        """Close it; the next job has another one."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _ask(address: Address, connected: Any, parser: PacketParser, packet: bytes) -> str:
    late = Unreachable(f"the job server {address} has not answered: the job may be queued, or not")
    try:
        with gevent.Timeout(ANSWER_TIMEOUT_S, late):
            connected.sendall(packet)
            while data := connected.recv(_RECEIVE_BYTES):
                for packet_type, body in parser.feed(data):
                    return _handle(address, packet_type, body)
                if parser.violation is not None:
                    raise parser.violation
    except (OSError, GearmanError) as error:
        raise Unreachable(f"the job server {address} can't be asked: {error}") from error
    raise late


def _handle(address: Address, packet_type: int, body: bytes) -> str:
    if packet_type == PacketType.JOB_CREATED:
        return to_text(body)
    if packet_type == PacketType.ERROR:
        code, text = split_arguments(packet_type, body)
        raise NotNow(f"the job server {address} says: {to_text(code)}: {to_text(text)}")
    raise ManagerError(f"the job server {address} answers with a packet of type {packet_type}")
