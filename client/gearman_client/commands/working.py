"""The worker side of the `gearman` command: runs a program for each job, or prints the workload."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from gearman_client.address import Address
from gearman_client.commands.command_line import ExitCode, complain
from gearman_client.commands.options import UsageError
from gearman_client.commands.streams import STDOUT, write_all
from gearman_client.commands.submitting import Lines
from gearman_client.errors import CouldNotConnect, Timeout
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.worker.observer import WorkerObserver
from gearman_client.worker.worker import Worker
from gearman_client.worker.worker_job import WorkerJob
from gearman_client.worker.worker_settings import WorkerSettings


@dataclass(frozen=True, slots=True)
class WorkOptions:
    """`lines`: send each line of the program's output at once; `timeout_s`: end when no job arrives for so long."""

    functions: Sequence[str]
    command: Sequence[str]
    lines: Lines | None
    max_jobs: int | None
    timeout_s: float | None


class _Watcher(WorkerObserver):
    """Stops the worker if no server can be reached at the start (a mistyped address). Later the worker reconnects."""

    def __init__(self, servers: Sequence[Address]) -> None:
        self.failure: str | None = None
        self.worker: Worker | None = None
        self._missing = set(servers)
        self._was_connected = False

    def connected(self, address: Address) -> None:
        """Note that the addresses are right."""
        self._was_connected = True

    def disconnected(self, address: Address, reason: str) -> None:
        """Print the reason; the worker reconnects."""
        complain("gearman", f"{reason}; connecting again")

    def unreachable(self, address: Address, reason: str) -> None:
        """Stop the worker once every server has been tried in vain."""
        self._missing.discard(address)
        if not self._missing and not self._was_connected and self.worker is not None:
            self.failure = reason
            self.worker.stop()


def check_command(command: Sequence[str]) -> None:
    """Check that the program of a worker is there.

    Raises:
        UsageError: it is not, or it can't be run.
    """
    if command and shutil.which(command[0]) is None:
        raise UsageError(f"{command[0]}: no such command")


def work(servers: Sequence[Address], options: WorkOptions) -> int:
    """Serve jobs until SIGTERM, or up to the wanted number; returns the exit code."""
    watcher = _Watcher(servers)
    # No job's id is needed, and Perl's server knows only the plain GRAB_JOB.
    with Worker(servers, WorkerSettings(grab_unique=False), observer=watcher) as worker:
        watcher.worker = worker
        signal.signal(signal.SIGTERM, lambda _number, _frame: worker.stop())
        for function in options.functions:
            worker.register(function)
        _serve(worker, options)
        if watcher.failure is not None:
            raise CouldNotConnect(watcher.failure)
    return ExitCode.SUCCESS


def _serve(worker: Worker, options: WorkOptions) -> None:
    jobs = 0
    while options.max_jobs is None or jobs < options.max_jobs:
        job = worker.grab(options.timeout_s)
        if job is None:
            if options.timeout_s is None or worker.stopping:
                return
            raise Timeout(f"no job came for {options.timeout_s:g} s")
        _run_job(job, options)
        jobs += 1


def _run_job(job: WorkerJob, options: WorkOptions) -> None:
    if not options.command:
        write_all(STDOUT, job.workload)
        job.complete()
        return
    # A file, not a pipe: a program that answers before it has read everything would block both sides.
    with tempfile.TemporaryFile() as workload:
        workload.write(job.workload)
        workload.seek(0)
        with subprocess.Popen(options.command, stdin=workload, stdout=subprocess.PIPE) as process:
            output = _read_output(process, job, options)
        _answer(job, output, succeeded=process.returncode == 0)


def _read_output(process: subprocess.Popen[bytes], job: WorkerJob, options: WorkOptions) -> bytes | None:
    """The program's output, without the lines that were sent already; None if it was too long."""
    stream = process.stdout
    if stream is None:
        return b""
    if options.lines is None:
        output = stream.read(DEFAULT_MAX_BODY_BYTES + 1)
        if len(output) > DEFAULT_MAX_BODY_BYTES:
            process.kill()
            return None
        return output
    while line := stream.readline(DEFAULT_MAX_BODY_BYTES):
        job.data(line.removesuffix(b"\n") if options.lines == "strip" else line)
    return b""


def _answer(job: WorkerJob, output: bytes | None, *, succeeded: bool) -> None:
    if output is None:
        job.warning(f"the output has more than {DEFAULT_MAX_BODY_BYTES} bytes\n")
        job.fail()
    elif succeeded:
        job.complete(output)
    else:
        if output:
            job.data(output)
        job.fail()
