"""One process of the bundled job server: started by exec, heard when it listens or can't, reaped when it has ended.

The socket between us is its lifeline: the server ends when we tell it to, or when our end of it closes.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.event
import gevent.socket

from gearman_client import Address
from gearman_manager.config.server_keys import Listening, Server
from gearman_manager.errors import StartError
from gearman_manager.host import process
from gearman_manager.job_servers.kept_ports import KeptPorts
from gearman_manager.logs.output import ChildOutput

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
_MAX_PORTS: Final = 64
#: The orders to end, at once or when no job is running. `gearman_server.process.server_process` has them too.
STOP: Final = b"stop\n"
FINISH: Final = b"finish\n"


class StartFailure(Enum):
    """The server's reasons for not starting, as it reports them. The values are those of `gearman_server.errors`."""

    ADDRESS_TAKEN = "address-taken"
    CANT_LISTEN = "cant-listen"
    NEEDS_RIGHTS = "needs-rights"
    STORE = "store"
    OTHER = "other"


class ServerCanNotStart(StartError):
    """The server ended before it listened. The message is its reason, without its own remedy."""

    def __init__(self, reason: str, failure: StartFailure = StartFailure.OTHER, option: str = "") -> None:
        super().__init__(reason)
        self.failure = failure
        #: The server's option that would change it.
        self.option = option


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options of a job server's process. number: of this one among several, from 1; 0: it is the only one.
    finished_jobs: how many ends of jobs it keeps for us."""

    section: Server  #: of the configuration
    log_level: str
    policies: Path
    number: int = 0
    finished_jobs: int = 0

    @property
    def title(self) -> str:
        """The server in messages."""
        return f"job server {self.number}" if self.number else "the job server"

    @property
    def listening(self) -> Listening:
        """Its addresses, as configured."""
        return self.section.listening[max(0, self.number - 1)]


class BundledProcess:
    """One process, from its exec to its end."""

    def __init__(self, options: ServerOptions, wanted: Listening, ports: KeptPorts) -> None:
        """Start a process, which takes the ports that are kept, or else its own; then they are kept.

        Raises:
            OSError: the system refuses.
        """
        self._wanted = wanted
        self._title = options.title
        self._ports = ports
        self._child, self._lifeline, self._output = _exec(options, wanted, ports)
        self.ended = gevent.event.Event()
        self.status: int | None = None  # once it has ended
        watcher = gevent.get_hub().loop.io(self._child.pidfd, 1)
        watcher.start(self._gone, watcher)

    @property
    def pid(self) -> int | None:
        """The process number while it lives; None afterwards."""
        return None if self.ended.is_set() else self._child.pid

    def wait_until_ready(self, describe: Callable[[int | None], str]) -> Listening:
        """Wait until it listens, and return its real addresses. `describe` puts an exit status into words.

        Raises:
            ServerCanNotStart: it has ended instead, or was killed because it took too long.
        """
        told = self._first_message()
        if "listening" in told:
            first, *others = self._wanted.jobs
            metrics = self._wanted.metrics
            return Listening(
                jobs=(_with_real_port(first, told["listening"]), *others),
                metrics=None if metrics is None else _with_real_port(metrics, told["metrics"]),
            )
        self.ended.wait(STOP_TIMEOUT_S)
        if "failed" in told:
            raise ServerCanNotStart(told["reason"], StartFailure(told["failed"]), told["option"])
        last = next(reversed(self._output.last_lines), "")
        # After the semicolon the server names its own options, but a manager's user has the configuration.
        reason = last.removeprefix("gearman-server: ").partition("; ")[0]
        raise ServerCanNotStart(reason or f"{self._title} ended ({describe(self.status)}) without a word")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. It is no error if it has ended."""
        if not self.ended.is_set():
            process.send_signal(self._child.pidfd, number)

    def finish(self) -> None:
        """Have it start no job and end once none is running; this does not wait for it."""
        with suppress(OSError):  # it has ended
            self._lifeline.sendall(FINISH)

    def stop(self) -> None:
        """End it, by force if it takes too long. It does not obey signals, which may reach all processes at once."""
        with suppress(OSError):  # it has ended
            self._lifeline.sendall(STOP)
        if not self.ended.wait(STOP_TIMEOUT_S):
            self.signal(signal.SIGKILL)
            self.ended.wait(STOP_TIMEOUT_S)

    def close(self) -> None:
        """Release everything: it has ended, and nobody waits for its report any more."""
        self._lifeline.close()

    def _first_message(self) -> Mapping[str, Any]:
        """Its report on its start; empty if it ends without one, or takes too long."""
        line = b""
        told: Mapping[str, Any] = {}
        descriptors: list[int] = []
        self._lifeline.settimeout(READY_TIMEOUT_S)
        try:
            while not line.endswith(b"\n"):
                data = self._receive(descriptors)
                if not data:
                    return told
                line += data
            told = json.loads(line)
        except OSError:
            self.signal(signal.SIGKILL)
        finally:
            self._ports.keep(told.get("kept", ()), descriptors)
        return told

    def _receive(self, descriptors: list[int]) -> bytes:
        """Some bytes of its report, and its ports with the first of them. Waits as long as the lifeline may."""
        # Not over a duplicate: a closed descriptor whose duplicate lives on makes libev build its poll set anew, which
        # is fatal while there are no free descriptors. Nor by socket.recv_fds, which drops its flags.
        size = socket.CMSG_SPACE(_MAX_PORTS * array("i").itemsize)
        data: bytes
        data, ancillary, _, _ = self._lifeline.recvmsg(4096, size, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array("i")
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
                descriptors += found
        return data

    def _gone(self, watcher: Any) -> None:
        """In the hub: the process has ended."""
        watcher.stop()
        watcher.close()
        self.status = process.exit_status(self._child.pidfd)
        os.close(self._child.pidfd)
        self._output.close()
        self.ended.set()


def _exec(
    options: ServerOptions, wanted: Listening, ports: KeptPorts
) -> tuple[process.Child, gevent.socket.socket, ChildOutput]:
    """Start the process; returns it, our end of its lifeline, and its output.

    Raises:
        OSError: the system refuses; nothing is left open.
    """
    ours, theirs = socket.socketpair()
    with theirs, ExitStack() as undo:
        undo.callback(ours.close)
        logger = f"server-{options.number}" if options.number else "server"
        output = ChildOutput(gevent.get_hub().loop, logger, {}, logs_json=True)
        undo.callback(output.close)
        # Neither on the command line nor in the environment: the URL of a store can hold a password.
        with _in_memory(options.section.store) as store:
            command = [*_command(options, wanted, theirs.fileno(), store), *ports.options]
            child = process.start(command, [theirs.fileno(), store, *ports.descriptors], output.write_end)
        undo.pop_all()
    output.handed_over()
    output.follow(child.pid)
    return child, gevent.socket.socket(fileno=ours.detach()), output


@contextmanager
def _in_memory(text: str) -> Iterator[int]:
    """The descriptor of a file without a name, to be read by a child."""
    with open(os.memfd_create("gearman-manager-store", os.MFD_CLOEXEC), "w+b", buffering=0) as file:
        file.write(text.encode())
        file.seek(0)
        yield file.fileno()


def _command(options: ServerOptions, wanted: Listening, supervised: int, store: int) -> list[str]:
    section = options.section
    dead_letters, results = section.dead_letters, section.results
    first, *others = wanted.jobs
    metrics = () if wanted.metrics is None else ("--metrics-listen", str(wanted.metrics))
    return [
        *(sys.executable, "-P", "-m", "gearman_server"),
        *("--listen", first.host, "--port", str(first.port)),
        *(word for address in others for word in ("--listen", str(address))),
        *metrics,
        *_among_others(options),
        *("--verbose", options.log_level, "--log-format", "json"),
        *("--policies", str(options.policies)),
        *("--dead-letters", str(dead_letters.max_count)),
        *("--dead-letters-size", str(dead_letters.max_size)),
        *("--dead-letters-age", str(dead_letters.max_age)),
        *("--results", str(results.max_count)),
        *("--results-size", str(results.max_size)),
        *("--result-data", str(results.max_data)),
        *("--finished-jobs", str(options.finished_jobs)),
        *("--log-file", "stderr", "--supervised-fd", str(supervised), "--bundled"),
        *("--store-url-fd", str(store)),
    ]


def _among_others(options: ServerOptions) -> tuple[str, ...]:
    """The options of one server of several."""
    cluster = options.section.cluster
    if cluster is not None:
        words = ("--cluster", cluster.name, "--lease", f"{cluster.lease:g}")
        if cluster.announce is None:
            return words
        return (*words, "--announce", str(Address(cluster.announce, options.listening.jobs[0].port)))
    if options.number > 1:
        # Servers that know nothing of each other must not give the same handles.
        return ("--job-handle-prefix", f"H:{platform.node()}-{options.number}")
    return ()


def _with_real_port(address: Address, listening: Sequence[str]) -> Address:
    return Address(address.host, int(listening[0].rpartition(":")[2]))
