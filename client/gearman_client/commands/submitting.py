"""The client side of the `gearman` command: reads workloads, submits them, and prints the answers, or a kept result."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from gearman_client.address import Address
from gearman_client.client.client import Client
from gearman_client.commands.command_line import ExitCode
from gearman_client.commands.job_report import JobReport, Output
from gearman_client.commands.options import UsageError
from gearman_client.commands.streams import STDIN
from gearman_client.commands.workload_hash import workload_hash
from gearman_client.errors import GearmanError, JobException, JobFailed
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_body

Lines = Literal["keep", "strip"]


@dataclass(frozen=True, slots=True)
class Submission:
    """The request of the command line.

    lines: one job for each line of input, its newline kept or stripped.
    options: of each job, as keywords of `Client.submit`.
    """

    functions: Sequence[str]
    workloads: Sequence[str]
    lines: Lines | None
    no_input: bool
    unique: str | None
    background: bool
    timeout_s: float | None
    options: Mapping[str, Any]


def submit_all(servers: Sequence[Address], submission: Submission, output: Output) -> int:
    """Run the workloads one after another, each with all functions at once; returns the exit code."""
    submitters = [_Submitter(_client(servers, submission), each, submission, output) for each in submission.functions]
    failed = False
    try:
        for workload in _workloads(submission):
            failed |= not _run_round(submitters, workload)
    finally:
        for submitter in submitters:
            submitter.client.close()
    return ExitCode.FAILURE if failed else ExitCode.SUCCESS


def fetch(servers: Sequence[Address], handle: str, timeout_s: float | None, output: Output) -> int:
    """Wait for the result, for at most `timeout_s`, and print it; returns the exit code."""
    report = output.job("", handle=handle)
    with Client(servers) as client:
        try:
            result = client.result(
                handle,
                timeout_s=timeout_s,
                on_data=report.data,
                on_warning=report.warning,
                on_status=report.status,
            )
        except (JobException, JobFailed) as error:
            report.failed(error)
            return ExitCode.FAILURE
        except GearmanError as error:
            report.failed(error)
            raise
        report.complete(result)
    return ExitCode.SUCCESS


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
        unique = unique_of(self._submission.unique, workload)
        report = self._output.job(self._function, unique)
        submit = self._submit_background if self._submission.background else self._submit
        try:
            submit(workload, unique, report)
            self.has_succeeded = True
        except (JobException, JobFailed) as error:
            report.failed(error)
        except GearmanError as error:
            report.failed(error)
            self.error = error
        except OSError as error:
            self.error = error

    def _submit_background(self, workload: bytes, unique: str, report: JobReport) -> None:
        submission = self._submission
        handle = self.client.submit_background(self._function, workload, unique=unique, **submission.options)
        report.created(handle)
        report.accepted()

    def _submit(self, workload: bytes, unique: str, report: JobReport) -> None:
        result = self.client.submit(
            self._function,
            workload,
            unique=unique,
            timeout_s=self._submission.timeout_s,
            on_created=report.created,
            on_data=report.data,
            on_warning=report.warning,
            on_status=report.status,
            **self._submission.options,
        )
        report.complete(result)


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
        with standard_input() as stream:
            yield bounded(stream.read(DEFAULT_MAX_BODY_BYTES + 1))
    else:
        with standard_input() as stream:
            while line := bounded(stream.readline(DEFAULT_MAX_BODY_BYTES + 1)):
                yield line.removesuffix(b"\n") if submission.lines == "strip" else line


def standard_input() -> BinaryIO:
    """Standard input as bytes; the stream that Python opened may be missing."""
    return open(STDIN, "rb", closefd=False)


def bounded(workload: bytes) -> bytes:
    """The workload.

    Raises:
        UsageError: it is too large for one packet.
    """
    if len(workload) > DEFAULT_MAX_BODY_BYTES:
        raise UsageError(f"a workload has more than {DEFAULT_MAX_BODY_BYTES} bytes")
    return workload


def unique_of(wanted: str | None, workload: bytes) -> str:
    """The unique id of a job. As with gearmand's tool, `#` is a number made of the workload, and nothing a new id."""
    if not wanted:
        return _new_id()
    return workload_hash(workload) if wanted == "#" else wanted


def _new_id() -> str:
    """A random UUID. The module `uuid` takes as long to load as all else that a job needs."""
    digits = os.urandom(16).hex()
    return (
        f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:]}"
    )
