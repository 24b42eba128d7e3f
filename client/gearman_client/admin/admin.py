"""The administration client: sends text commands over a socket that the caller provides.

The socket needs `sendall`, `recv`, `settimeout` and `close`, so one of gevent's will do. Answers are parsed strictly
and their size is limited. After anything but a whole answer the client closes the connection, because the rest of that
answer can't be told from the next one.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from time import monotonic
from types import TracebackType
from typing import Final, Protocol

from gearman_client.address import Address, parse_address
from gearman_client.admin.tables import (
    ConnectedWorker,
    FunctionHold,
    FunctionStatus,
    PriorityStatus,
    ShownJob,
    parse_connected_worker,
    parse_function_hold,
    parse_function_status,
    parse_priority_status,
    parse_server,
    parse_shown_job,
)
from gearman_client.arguments import to_limit
from gearman_client.connection.cluster_servers import ClusterServer
from gearman_client.connection.connecting import connect
from gearman_client.errors import AdminError, ArgumentError, ConnectionLost, Timeout
from gearman_client.exclusive import Exclusive
from gearman_client.packet import MAX_LINE_BYTES, PacketType, encode_request
from gearman_client.text import to_argument, to_text
from gearman_client.tls import Tls

DEFAULT_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
RECEIVE_BYTES: Final = 64 * 1024

#: The commands whose answer is many lines, ended by a line with a single dot. All other answers are one line.
_TABLES: Final = frozenset(
    {"status", "prioritystatus", "workers", "show", "policies", "holds", "servers", "counts", "facts"}
)
#: Commands of our own server that answer with a table if their second word is one of `_FAMILY_TABLES`.
_TABLE_FAMILIES: Final = frozenset({"jobs", "dead", "schedules"})
_FAMILY_TABLES: Final = frozenset({"list", "show", "keys", "batches", "count", "finished"})
#: What ends a word of a text command. A TAB does not: Perl's clients put one between a prefix and the function's name.
_WORD_BREAKS: Final = frozenset(" \r\n\0")


class AdminSocket(Protocol):
    """The methods of a socket that AdminClient needs."""

    def sendall(self, data: bytes, /) -> object: ...
    def recv(self, size: int, /) -> bytes: ...
    def settimeout(self, timeout_s: float | None, /) -> None: ...
    def close(self) -> object: ...


class AdminClient:
    """One administration connection; a context manager. `timeout_s` is the limit for one whole answer.

    Every command raises AdminError when the server refuses it or its answer can't be parsed, Timeout when the answer is
    not complete in time, ConnectionLost when the connection is gone, and InUse when another thread or greenlet waits
    for an answer, or the client was made before a fork.
    """

    def __init__(
        self,
        sock: AdminSocket,
        *,
        timeout_s: timedelta | float = 10.0,
        max_response_bytes: int = DEFAULT_MAX_RESPONSE_BYTES,
    ) -> None:
        self._socket = sock
        self._timeout_s = to_limit(timeout_s, "timeout_s")
        self._max_response_bytes = max_response_bytes
        self._received = bytearray()
        self._is_closed = False
        self._use = Exclusive("administration client")

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    def status(self) -> list[FunctionStatus]:
        """Every function that the server knows: numbers of its jobs, its running jobs and its workers."""
        return [parse_function_status(line) for line in self._table("status")]

    def priority_status(self) -> list[PriorityStatus]:
        """Every function: numbers of the jobs waiting in its three queues, and of its workers."""
        return [parse_priority_status(line) for line in self._table("prioritystatus")]

    def workers(self) -> list[ConnectedWorker]:
        """Every connection of the server, including clients and this connection."""
        return [parse_connected_worker(line) for line in self._table("workers")]

    def show_jobs(self) -> list[ShownJob]:
        """Every job of the server."""
        return [parse_shown_job(line) for line in self._table("show jobs")]

    def show_unique_jobs(self) -> list[str]:
        """The unique id of every job; "" for a job without one."""
        return [to_text(line) for line in self._table("show unique jobs")]

    def version(self) -> str:
        """The server's version."""
        return self._value("version")

    def verbose(self) -> str:
        """The server's log level."""
        return self._value("verbose")

    def getpid(self) -> int:
        """The server's process id."""
        return self._number("getpid")

    def max_queue(self, function: str, *limits: int) -> None:
        """Limit the function's jobs: one number for all priorities, three (high, normal, low), or none for no limit."""
        if len(limits) not in (0, 1, 3) or not all(isinstance(limit, int) for limit in limits):
            raise ArgumentError("maxqueue takes no number, one, or three (high, normal, low), all whole")
        self._value(" ".join(["maxqueue", _word(function), *map(str, limits)]))

    def create_function(self, function: str) -> None:
        """Make the function known to the server."""
        # gearmand cuts two bytes off the end of this line because it expects CR LF.
        self._value(f"create function {_word(function)}\r")

    def drop_function(self, function: str) -> None:
        """Make the server forget the function."""
        self._value(f"drop function {_word(function)}")

    def pause_function(self, function: str) -> None:
        """Our own server only: start no more jobs of the function. They are accepted and wait; running ones go on.

        When this returns, the pause is stored, if the server has a durable store.
        """
        self._value(f"pause function {_word(function)}")

    def resume_function(self, function: str) -> None:
        """Our own server only: start the function's jobs again, whether it was paused or is held by its brake."""
        self._value(f"resume function {_word(function)}")

    def holds(self) -> list[FunctionHold]:
        """Our own server only: the functions that are paused, or held by their brakes."""
        return [parse_function_hold(line) for line in self._table("holds")]

    def servers(self) -> list[ClusterServer]:
        """Our own server only: the servers of its cluster, itself among them; without a cluster itself alone."""
        return [parse_server(line) for line in self._table("servers")]

    def cancel_job(self, handle: str) -> None:
        """Fail the job for its clients and remove it from its queue."""
        self._value(f"cancel job {_word(handle)}")

    def stop_jobs(self, *handles: str) -> int:
        """Our own server only: stop jobs, also those that run, and cancel those that wait. Returns their number."""
        return self._number(" ".join(["stop job", *map(_word, handles)]))

    def fail_job(self, handle: str, reason: str) -> None:
        """Our own server only: end the current attempt of a running job as if its worker had failed."""
        self._value(f"fail job {_word(handle)} {_word(reason)}")

    def drain_worker(self, worker: str) -> int:
        """Our own server only: give a worker no further job; it keeps those that it has.

        worker: its client id, or the address of its connection, such as `127.0.0.1:53120`. It must be at the address
        from which this command comes. Returns the number of jobs that it has.
        """
        return self._number(f"worker drain {_word(worker)}")

    def return_worker(self, worker: str) -> int:
        """Our own server only: the same, and its jobs go back into their queues, which counts as no attempt.

        Returns the number of jobs.
        """
        return self._number(f"worker return {_word(worker)}")

    def set_client_id(self, client_id: str) -> None:
        """Give this connection a name that `workers` shows; the server sends no reply."""
        packet = encode_request(PacketType.SET_CLIENT_ID, to_argument(client_id, "client id"))
        with self._use:
            self._send(packet, monotonic() + self._timeout_s)

    def command(self, line: str) -> bytes:
        """Send any text command and return the bytes of the answer, including its terminator."""
        if not isinstance(line, str):
            raise ArgumentError(f"command {line!r}: expected one line of text (str)")
        request = line.encode("utf-8", "surrogateescape") + b"\n"
        if b"\n" in request[:-1] or len(request) > MAX_LINE_BYTES or not request.strip() or request.startswith(b"\0"):
            raise ArgumentError(f"a command is one line of at most {MAX_LINE_BYTES} bytes")
        deadline = monotonic() + self._timeout_s
        with self._use:
            self._send(request, deadline)
            return self._answer(is_table=_is_table(line), deadline=deadline)

    def close(self) -> None:
        """Close the socket."""
        self._is_closed = True
        self._socket.close()

    def _value(self, line: str) -> str:
        """The text after OK."""
        answer = to_text(self.command(line)).rstrip("\r\n")
        word, _, rest = answer.partition(" ")
        if word == "ERR":
            raise _refusal(rest)
        if word != "OK":
            raise self._unexpected(line, answer)
        return rest

    def _number(self, line: str) -> int:
        text = self._value(line)
        if not (text.isascii() and text.isdigit()):
            raise self._unexpected(line, text)
        return int(text)

    def _table(self, line: str) -> list[bytes]:
        answer = self.command(line)
        if _is_error(answer):
            raise _refusal(to_text(answer[4:]).rstrip("\r\n"))
        return answer.split(b"\n")[:-2]

    def _answer(self, *, is_table: bool, deadline: float) -> bytes:
        received = self._received
        searched = 0
        while True:
            end = _end_of_answer(received, searched, is_table=is_table)
            if end > 0:
                answer = bytes(received[:end])
                del received[:end]
                return answer
            searched = len(received)
            received += self._receive(deadline)
            if received.startswith(b"\0"):
                raise self._unexpected("a text command", "a binary packet")
            if len(received) > self._max_response_bytes:
                self.close()
                raise AdminError("TOO_LONG", f"the answer has more than {self._max_response_bytes} bytes")

    def _send(self, data: bytes, deadline: float) -> None:
        self._check_open()
        try:
            self._socket.settimeout(max(0.001, deadline - monotonic()))
            self._socket.sendall(data)
        except TimeoutError as error:
            raise self._too_late() from error
        except OSError as error:
            raise self._lost(str(error)) from error

    def _receive(self, deadline: float) -> bytes:
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise self._too_late()
        try:
            self._socket.settimeout(left_s)
            data = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise self._too_late() from error
        except OSError as error:
            raise self._lost(str(error)) from error
        if not data:
            raise self._lost("closed by the job server")
        return data

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConnectionLost("the administration connection is closed")

    def _too_late(self) -> Timeout:
        self.close()
        return Timeout(f"the job server did not answer within {self._timeout_s:g} s")

    def _lost(self, reason: str) -> ConnectionLost:
        self.close()
        return ConnectionLost(f"administration connection lost: {reason}")

    def _unexpected(self, line: str, answer: str) -> AdminError:
        self.close()
        return AdminError("UNEXPECTED_ANSWER", f"to {line!r}: {answer[:200]!r}")


def connect_admin(
    address: Address | str, timeout_s: timedelta | float = 10.0, *, tls: Tls | None = None
) -> AdminClient:
    """A blocking administration connection, with TLS if `tls` is given or the address has its own.

    Raises:
        CouldNotConnect: the server can't be reached.
        AddressError: `address` is not an address.
    """
    limit_s = to_limit(timeout_s, "timeout_s")
    where = address if isinstance(address, Address) else parse_address(address)
    return AdminClient(connect(replace(where, tls=where.tls or tls), limit_s), timeout_s=limit_s)


def _is_table(line: str) -> bool:
    first, second, *rest = [*line.rstrip("\r").lower().split(" "), ""]
    if first in _TABLE_FAMILIES:
        return second in _FAMILY_TABLES or (second == "batch" and len([word for word in rest if word]) == 1)
    return first in _TABLES


def _end_of_answer(received: bytearray, searched: int, *, is_table: bool) -> int:
    """The length in bytes of the answer at the start of `received`; 0: more bytes are needed."""
    end = received.find(b"\n") + 1
    if end == 0 or not is_table or received.startswith(b".\n") or _is_error(received[:end]):
        return end
    # The terminator may have been cut in two by the last read.
    last_line = received.find(b"\n.\n", max(0, searched - 2))
    return 0 if last_line < 0 else last_line + 3


def _is_error(answer: bytes | bytearray) -> bool:
    """Only errors end with CR LF; the check is needed because a unique id could begin with ERR too."""
    return answer.startswith(b"ERR ") and answer.endswith(b"\r\n") and answer.count(b"\n") == 1


def _refusal(text: str) -> AdminError:
    """The error of an ERR line. gearmand writes + for each blank in the sentence after the code."""
    code, _, rest = text.partition(" ")
    if code.isupper():
        return AdminError(code, rest.replace("+", " "))
    return AdminError(text)


def _word(value: str) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{value!r} can't be part of a text command: expected text (str)")
    if not value or not _WORD_BREAKS.isdisjoint(value):
        raise ArgumentError(
            f"{value!r} can't be part of a text command: it must not be empty or hold a blank or line end"
        )
    return value
