"""The client side of the `gearman` command: reads workloads, submits them, and prints the answers."""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Literal

from gearman_client.address import Address
from gearman_client.client.client import Client, Priority
from gearman_client.commands.command_line import ExitCode, UsageError
from gearman_client.errors import GearmanError, JobException, JobFailed
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_body

Lines = Literal["keep", "strip"]


@dataclass(frozen=True, slots=True)
class Submission:
    """The request of the command line. `lines`: one job for each line of input, its newline kept or stripped."""

    functions: Sequence[str]
    workloads: Sequence[str]
    lines: Lines | None
    no_input: bool
    unique: str | None
    priority: Priority
    background: bool
    prefix: bool
    verbose: bool
    timeout_s: float | None
    at: datetime | float | None = None
    delay_s: float | None = None


class Output:
    """Standard output and error as bytes, locked for each chunk, because several functions may answer at once."""

    def __init__(self, *, prefix: bool) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()

    def result(self, function: str, data: bytes) -> None:
        """Print a piece of a result."""
        self._write(sys.stdout.buffer, function, data)

    def complaint(self, function: str, data: bytes) -> None:
        """Print a warning, or the reason of a failure."""
        self._write(sys.stderr.buffer, function, data)

    def progress(self, function: str, numerator: int, denominator: int) -> None:
        """Print the progress of a job."""
        percent = numerator * 100 // denominator if denominator else 0
        self._write(sys.stdout.buffer, function, b"%d%% Complete\n" % percent)

    def created(self, handle: str) -> None:
        """Print the handle of an accepted job."""
        self._write(sys.stdout.buffer, "", b"Task created: %s\n" % to_body(handle))

    def _write(self, stream: BinaryIO, function: str, data: bytes) -> None:
        if function and self._prefix:
            data = to_body(f"{function}: ") + data
        with self._lock:
            stream.write(data)
            stream.flush()


def submit_all(servers: Sequence[Address], submission: Submission) -> int:
    """Run the workloads one after another, each with all functions at once; returns the exit code."""
    output = Output(prefix=submission.prefix)
    submitters = [_Submitter(_client(servers, submission), each, submission, output) for each in submission.functions]
    failed = False
    try:
        for workload in _workloads(submission):
            failed |= not _run_round(submitters, workload)
    finally:
        for submitter in submitters:
            submitter.client.close()
    return ExitCode.FAILURE if failed else ExitCode.SUCCESS


def _client(servers: Sequence[Address], submission: Submission) -> Client:
    if submission.timeout_s is None:
        return Client(servers)
    return Client(servers, connect_timeout_s=submission.timeout_s, reply_timeout_s=submission.timeout_s)


class _Submitter:
    """Submits for one function, over its own connections."""

    def __init__(self, client: Client, function: str, submission: Submission, output: Output) -> None:
        self.client = client
        self.error: BaseException | None = None
        self.has_succeeded = False
        self._function = function
        self._submission = submission
        self._output = output

    def run(self, workload: bytes) -> None:
        """Submit the workload, and set `has_succeeded` or `error`."""
        self.error, self.has_succeeded = None, False
        try:
            if self._submission.background:
                self._submit_background(workload)
            else:
                self._submit(workload)
            self.has_succeeded = True
        except JobException as error:
            self._output.complaint(self._function, error.data.removesuffix(b"\n") + b"\n")
            self._output.complaint(self._function, b"Job failed\n")
        except JobFailed:
            self._output.complaint(self._function, b"Job failed\n")
        except (GearmanError, OSError) as error:
            self.error = error

    def _submit_background(self, workload: bytes) -> None:
        submission = self._submission
        handle = self.client.submit_background(
            self._function,
            workload,
            unique=_unique(submission),
            priority=submission.priority,
            at=submission.at,
            delay=submission.delay_s,
        )
        if submission.verbose:
            self._output.created(handle)

    def _submit(self, workload: bytes) -> None:
        submission, output, function = self._submission, self._output, self._function
        result = self.client.submit(
            function,
            workload,
            unique=_unique(submission),
            priority=submission.priority,
            timeout_s=submission.timeout_s,
            on_created=output.created if submission.verbose else _ignore,
            on_data=lambda data: output.result(function, data),
            on_warning=lambda data: output.complaint(function, data),
            on_status=lambda numerator, denominator: output.progress(function, numerator, denominator),
        )
        output.result(function, result)


def _run_round(submitters: Sequence[_Submitter], workload: bytes) -> bool:
    """Run one workload with every function; True if all jobs succeeded. Raises the first error but a failed job."""
    if len(submitters) == 1:
        submitters[0].run(workload)
    else:
        # Daemon threads, so that Ctrl-C ends the command while they still wait for jobs.
        threads = [threading.Thread(target=each.run, args=(workload,), daemon=True) for each in submitters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for submitter in submitters:
        if submitter.error is not None:
            raise submitter.error
    return all(submitter.has_succeeded for submitter in submitters)


def _workloads(submission: Submission) -> Iterator[bytes]:
    if submission.workloads:
        yield from map(to_body, submission.workloads)
    elif submission.no_input:
        yield b""
    elif submission.lines is None:
        yield _bounded(sys.stdin.buffer.read(DEFAULT_MAX_BODY_BYTES + 1))
    else:
        while line := _bounded(sys.stdin.buffer.readline(DEFAULT_MAX_BODY_BYTES + 1)):
            yield line.removesuffix(b"\n") if submission.lines == "strip" else line


def _bounded(data: bytes) -> bytes:
    if len(data) > DEFAULT_MAX_BODY_BYTES:
        raise UsageError(f"a workload has more than {DEFAULT_MAX_BODY_BYTES} bytes")
    return data


def _unique(submission: Submission) -> str:
    """The unique id. A job that was given none gets a new one, as with gearmand's tool."""
    return str(uuid.uuid4()) if submission.unique is None else submission.unique


def _ignore(_handle: str) -> None:
    pass
