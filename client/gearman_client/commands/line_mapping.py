"""`gearman --map FILE`: a job for each line, many at a time, and the results in the order of the lines.

A line is done when its result has been written; only then does `--done` keep it. So a run that is killed at any moment
and started again writes every result, and at most one of them twice.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from gearman_client.address import Address
from gearman_client.client.client import Client
from gearman_client.commands.command_line import ExitCode, complain
from gearman_client.commands.done_file import DoneFile
from gearman_client.commands.job_report import JobReport
from gearman_client.commands.json_output import JsonJob, JsonOutput, bytes_value
from gearman_client.commands.map_progress import MapProgress
from gearman_client.commands.options import UsageError
from gearman_client.commands.submitting import standard_input
from gearman_client.commands.terminal import printable
from gearman_client.errors import CouldNotConnect, GearmanError, JobFailed
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_body

#: So many failures are listed at the end, each with so many characters of its reason.
MOST_LISTED: Final = 10_000
LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class MapRequest:
    """The request of the command line.

    path: the file of the lines; `-` is standard input. done: the file that keeps which are done, or None.
    window: the most lines taken ahead; None: the library's default.
    options: of each job, as keywords of `Client.map` and `Client.submit_background`.
    """

    function: str
    path: str
    done: str | None
    window: int | None
    unique: str | None
    background: bool
    prefix: bool
    handles: bool
    as_json: bool
    timeout_s: float | None
    options: Mapping[str, Any]


class Line(bytes):
    """A line's contents, its number from 1 up, the bytes of the input up to its end, and its part of the output."""

    number: int
    end: int
    report: Any


class _Source:
    """The lines that are not done. `taken` has those whose results have not come."""

    def __init__(self, stream: BinaryIO, run: _Run) -> None:
        self._stream = stream
        self._run = run
        self.taken: deque[Line] = deque()

    def __iter__(self) -> Iterator[Line]:
        number = end = 0
        while not self._run.is_stopped and (raw := self._stream.readline(DEFAULT_MAX_BODY_BYTES + 2)):
            number += 1
            end += len(raw)
            line = Line(raw.removesuffix(b"\n"))
            if len(line) > DEFAULT_MAX_BODY_BYTES:
                raise UsageError(f"line {number} has more than {DEFAULT_MAX_BODY_BYTES} bytes")
            if self._run.skips(number, line):
                continue
            line.number, line.end, line.report = number, end, self._run.report(number, line)
            self.taken.append(line)
            yield line


class _Run:
    """Writes the results, and counts; what has failed is listed at the end."""

    def __init__(self, request: MapRequest, done: DoneFile, progress: MapProgress) -> None:
        self._request = request
        self._done = done
        self._progress = progress
        self._json = JsonOutput() if request.as_json else None
        self._failures: list[str] = []
        self._unreachable: CouldNotConnect | None = None
        self.is_interrupted = False

    @property
    def is_stopped(self) -> bool:
        """Whether no further line is to be taken, because no server can be reached."""
        return self._unreachable is not None

    def skips(self, number: int, line: bytes) -> bool:
        """Whether the line was done in an earlier run."""
        is_done = self._done.has(number, line)
        self._progress.skipped += is_done
        return is_done

    def report(self, number: int, line: bytes) -> JobReport:
        """The part of one line's job."""
        if self._json is None:
            return _PlainLine(self._request, self._progress)
        unique = None if self._request.unique is None else bytes_value(line)  # with -u - the line is the key
        return JsonJob(self._json, {"line": number, "function": self._request.function, "unique": unique})

    def take(self, line: Line, outcome: Any) -> None:
        """Write what came of a line."""
        if isinstance(outcome, GearmanError):
            self._fail(line, outcome)
        else:
            if self._request.background:
                line.report.created(outcome)
                line.report.accepted()
            else:
                line.report.complete(outcome)
            self._done.add(line.number, line)
            self._progress.done += 1
        self._progress.show(line.end)

    def _fail(self, line: Line, error: GearmanError) -> None:
        line.report.failed(error)
        if isinstance(error, CouldNotConnect):
            self._unreachable = error
            return
        self._progress.failed += 1
        if len(self._failures) < MOST_LISTED:
            reason = "Job failed" if type(error) is JobFailed else printable(str(error).strip())[:LONGEST_REASON]
            self._failures.append(f"{self._request.path}:{line.number}: {reason}")

    def end(self) -> int:
        """List what has failed; returns the exit code."""
        for failure in self._failures:
            complain("gearman", failure)
        failed, done = self._progress.failed, self._progress.done + self._progress.skipped
        if failed:
            others = f", {failed - MOST_LISTED} of them not listed" if failed > MOST_LISTED else ""
            complain("gearman", f"{failed} of {failed + done} jobs failed{others}")
        if self._unreachable is not None:
            complain("gearman", f"stopped after {failed + done} jobs: {self._unreachable}")
        if self.is_interrupted:
            if self._request.done:
                complain("gearman", "interrupted: the same command goes on with the lines that are not done")
            return ExitCode.INTERRUPTED
        return ExitCode.FAILURE if failed or self._unreachable is not None else ExitCode.SUCCESS


class _PlainLine:
    """Writes one line's result, with a line break at its end, when its turn has come."""

    def __init__(self, request: MapRequest, progress: MapProgress) -> None:
        self._request = request
        self._progress = progress
        self._data = bytearray()

    def created(self, handle: str) -> None:
        """Print the handle of a background job, if they are wanted; another attempt sends its data anew."""
        self._data.clear()
        if self._request.background and self._request.handles:
            self._progress.write_result(b"Task created: %s\n" % to_body(handle))

    def data(self, data: bytes) -> None:
        """Keep a piece of the result."""
        if len(self._data) <= DEFAULT_MAX_BODY_BYTES:
            self._data += data

    def warning(self, data: bytes) -> None:
        """Print a warning at once."""
        self._progress.write_warning(data)

    def status(self, numerator: int, denominator: int) -> None:
        """The progress of one of many jobs is not shown."""

    def ended(self) -> None:
        """The time does not matter."""

    def accepted(self) -> None:
        """Nothing is printed."""

    def complete(self, result: bytes) -> None:
        """Print the result."""
        prefix = to_body(f"{self._request.function}: ") if self._request.prefix else b""
        whole = b"".join((prefix, self._data, result))
        self._progress.write_result(whole if whole.endswith(b"\n") else whole + b"\n")

    def failed(self, error: Exception) -> None:
        """Failures are listed at the end."""


def map_lines(servers: Sequence[Address], request: MapRequest) -> int:
    """Run a job for each line that is not done; returns the exit code.

    Raises:
        UsageError: a line is too long, or the file of done lines is of another input.
        OSError: a file can't be read or written.
    """
    with DoneFile(request.done) as done, _opened(request.path) as stream, Client(servers) as client:
        with MapProgress(_size_of(stream)) as progress:
            run = _Run(request, done, progress)
            source = _Source(stream, run)
            outcomes = _accepted(client, request, source) if request.background else _results(client, request, source)
            try:
                for outcome in outcomes:
                    run.take(source.taken.popleft(), outcome)
            except KeyboardInterrupt:
                run.is_interrupted = True
        return run.end()


def _results(client: Client, request: MapRequest, source: _Source) -> Iterator[Any]:
    return client.map(
        request.function,
        source,
        window=request.window,
        return_exceptions=True,
        unique=request.unique,
        timeout_s=request.timeout_s,
        on_created=lambda task: task.workload.report.created(task.handle),
        on_data=lambda task, data: task.workload.report.data(data),
        on_warning=lambda task, data: task.workload.report.warning(data),
        on_status=lambda task, numerator, denominator: task.workload.report.status(numerator, denominator),
        on_complete=lambda task: task.workload.report.ended(),
        on_fail=lambda task: task.workload.report.ended(),
        **request.options,
    )


def _accepted(client: Client, request: MapRequest, source: _Source) -> Iterator[Any]:
    """The handles of background jobs, one after another: each is kept before the next one is sent."""
    for line in source:
        try:
            yield client.submit_background(request.function, line, unique=request.unique, **request.options)
        except GearmanError as error:
            yield error


def _opened(path: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(standard_input()) if path == "-" else open(path, "rb")


def _size_of(stream: BinaryIO) -> int:
    """The size of a file in bytes; 0 if it is none."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
