"""One connection's conversation with the job server in this process: packets in, packets out, jobs run in between.

It answers what a client can ask, as our own server does. Workers and text commands have nothing to do here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from gearman_client.client.submission import Priority
from gearman_client.extensions import (
    BATCH,
    CLOSE_BATCH,
    END_BATCH,
    GET_BATCH,
    GET_RESULT,
    JOB_BATCHES_OPTION,
    JOB_OPTIONS_OPTION,
    JOB_RESULT_OPTION,
    JOB_STOP_OPTION,
    OPEN_BATCH,
    RESULT,
    STOP_JOB,
    SUBMIT_JOB_WITH,
)
from gearman_client.job_pairs import cut_pairs, split_pairs
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_response, split_arguments
from gearman_client.testing.broker import Broker
from gearman_client.testing.sequels import Refused
from gearman_client.testing.submitted_job import SubmittedJob, submitted_with
from gearman_client.text import to_text

_T = PacketType
#: What each submission says: its priority, and whether nobody waits.
_SUBMISSIONS: Final[dict[int, tuple[Priority, bool]]] = {
    _T.SUBMIT_JOB: ("normal", False),
    _T.SUBMIT_JOB_HIGH: ("high", False),
    _T.SUBMIT_JOB_LOW: ("low", False),
    _T.SUBMIT_REDUCE_JOB: ("normal", False),
    _T.SUBMIT_JOB_BG: ("normal", True),
    _T.SUBMIT_JOB_HIGH_BG: ("high", True),
    _T.SUBMIT_JOB_LOW_BG: ("low", True),
    _T.SUBMIT_REDUCE_JOB_BACKGROUND: ("normal", True),
    _T.SUBMIT_JOB_EPOCH: ("normal", True),
}
_REDUCE: Final = frozenset({_T.SUBMIT_REDUCE_JOB, _T.SUBMIT_REDUCE_JOB_BACKGROUND})
_OPTIONS: Final = frozenset({b"exceptions", JOB_RESULT_OPTION, JOB_OPTIONS_OPTION, JOB_BATCHES_OPTION, JOB_STOP_OPTION})
_WITHOUT_ANSWER: Final = frozenset(
    {_T.CAN_DO, _T.CANT_DO, _T.CAN_DO_TIMEOUT, _T.RESET_ABILITIES, _T.PRE_SLEEP, _T.SET_CLIENT_ID, _T.ALL_YOURS}
)
_GRABS: Final = frozenset({_T.GRAB_JOB, _T.GRAB_JOB_UNIQ, _T.GRAB_JOB_ALL})
_NO_TEXT: Final = b"ERR UNKNOWN_COMMAND the+job+server+of+a+test+has+no+text+commands\r\n"

logger = logging.getLogger("gearman_client.testing")


class Conversation:
    """Bytes of one client in (`feed`), bytes to `deliver` out. It serves one thread at a time; any may hear of jobs."""

    def __init__(self, broker: Broker, deliver: Callable[[bytes], None]) -> None:
        self._broker = broker
        self._deliver = deliver
        self._parser = PacketParser(REQUEST_MAGIC, accepts_text=True)
        self._has_exceptions = False
        self._handlers: Final[dict[int, Callable[[bytes], None]]] = {
            _T.TEXT_LINE: lambda _line: self._deliver(_NO_TEXT),
            _T.ECHO_REQ: lambda body: self.tell(_T.ECHO_RES, body),
            _T.OPTION_REQ: self._on_option,
            _T.GET_STATUS: self._on_status,
            _T.GET_STATUS_UNIQUE: self._on_status_unique,
            GET_RESULT: self._on_result,
            STOP_JOB: self._on_stop,
            **{number: partial(self._on_batch, about) for number, about in _ABOUT_BATCHES.items()},
        }

    def feed(self, data: bytes) -> None:
        """Take bytes of the client. Foreground jobs among them have been run when this returns."""
        for packet_type, body in self._parser.feed(data):
            if packet_type in _SUBMISSIONS:
                self._on_submission(_submitted(packet_type, body))
            elif packet_type == SUBMIT_JOB_WITH:
                self._on_submission(_submitted_with(body, self._broker.now))
            elif packet_type in _GRABS:
                self.tell(_T.NO_JOB)
            elif packet_type in _WITHOUT_ANSWER:
                if packet_type == _T.CAN_DO:
                    logger.warning("a Worker gets no jobs here: give its functions to EagerServer.use(worker)")
            else:
                self._handlers.get(packet_type, self._on_unknown)(body)

    def tell(self, packet_type: int, *arguments: bytes) -> None:
        """Send a packet to the client."""
        self._deliver(encode_response(packet_type, *arguments))

    def ended(self, job: SubmittedJob) -> None:
        """Tell a client that waits for a foreground job how it ended."""
        if job.state == "complete":
            self.tell(_T.WORK_COMPLETE, job.handle_bytes, job.result or b"")
        elif (job.state == "exception" or job.outcome == "stopped") and self._has_exceptions:
            self.tell(_T.WORK_EXCEPTION, job.handle_bytes, job.reason)
        else:
            self.tell(_T.WORK_FAIL, job.handle_bytes)

    def end(self) -> None:
        """The client is gone, and waits for nothing any more."""
        self._broker.stop_listening(self)

    def _on_unknown(self, _body: bytes) -> None:
        self.tell(_T.ERROR, b"INVALID_COMMAND", b"Command not expected")

    def _on_option(self, body: bytes) -> None:
        if body.lower() not in _OPTIONS:
            self.tell(_T.ERROR, b"UNKNOWN_OPTION", b"Server does not recognize given option")
            return
        self._has_exceptions |= body.lower() == b"exceptions"
        self.tell(_T.OPTION_RES, body)

    # --- submissions

    def _on_submission(self, submitted: SubmittedJob) -> None:
        broker = self._broker
        try:
            with broker.lock:
                job, is_new = broker.submit(submitted)
                self.tell(_T.JOB_CREATED, job.handle_bytes)
                if not submitted.background:
                    job.listeners.append(self)
        except Refused as refused:
            logger.error("%s", refused)
            self.tell(_T.ERROR, refused.code.encode(), str(refused).encode())
            return
        is_wanted = not submitted.background or (broker.at_once and is_new and broker.is_due(job))
        if is_wanted and job.function in broker.functions:
            broker.run(job)

    def _on_stop(self, handle: bytes) -> None:
        self.tell(STOP_JOB, handle, self._broker.stop(to_text(handle)))

    def _on_batch(self, about: Callable[[Broker, bytes], list[bytes]], body: bytes) -> None:
        broker = self._broker
        try:
            with broker.lock:
                pairs = about(broker, body)
        except Refused as refused:
            self.tell(_T.ERROR, refused.code.encode(), str(refused).encode())
            return
        self.tell(BATCH, body.partition(b"\0")[0], *pairs)
        if broker.at_once:
            broker.run_due()

    # --- questions

    def _on_status(self, handle: bytes) -> None:
        job = self._broker.job(to_text(handle))
        self.tell(_T.STATUS_RES, handle, *_status(job))

    def _on_status_unique(self, unique: bytes) -> None:
        job = self._broker.job_by_unique(to_text(unique))
        clients = 0 if job is None else len(job.listeners)
        self.tell(_T.STATUS_RES_UNIQUE, unique, *_status(job), b"%d" % clients)

    def _on_result(self, body: bytes) -> None:
        handle, _, wait = body.partition(b"\0")
        job = self._broker.job(to_text(handle))
        if job is None:
            state = b"expired" if self._broker.has_expired(to_text(handle)) else b"unknown"
            self.tell(RESULT, handle, state, b"0", b"0", b"0", b"0", b"0", b"")
            return
        waiter = _ResultWaiter(self, self._broker)
        waits = wait != b"0" and self._broker.keeps_result(job)
        if waits and job.state != "running":
            self._run_now(job, None if not wait else int(wait) / 1000)
        if waits and job.state == "running":
            waiter.wait(job, None if not wait else int(wait) / 1000)
        else:
            waiter.ended(job)

    def _run_now(self, job: SubmittedJob, wait_s: float | None) -> None:
        """Somebody waits for the result: the job runs now. The clock moves on to its time, if that is near enough."""
        broker = self._broker
        ahead_s = job.run_at - broker.now
        if ahead_s > 0 and (wait_s is None or wait_s >= ahead_s):
            broker.advance(ahead_s)
        if broker.is_due(job) and job.function in broker.functions:
            broker.run(job)


class _ResultWaiter:
    """One GET_RESULT: reports while the job runs, then RESULT, or RESULT when the time is over."""

    def __init__(self, conversation: Conversation, broker: Broker) -> None:
        self._conversation = conversation
        self._broker = broker

    def wait(self, job: SubmittedJob, wait_s: float | None) -> None:
        """Wait for a job that another thread runs."""
        with self._broker.lock:
            if job.state != "running":
                self.ended(job)
                return
            job.waiters.append(self)
        if wait_s is not None:
            timer = threading.Timer(wait_s, self._give_up, (job,))
            timer.daemon = True
            timer.start()

    def _give_up(self, job: SubmittedJob) -> None:
        with self._broker.lock:
            if self not in job.waiters:
                return
            job.waiters.remove(self)
        self.ended(job)

    def tell(self, packet_type: int, *arguments: bytes) -> None:
        """Pass on a report."""
        self._conversation.tell(packet_type, *arguments)

    def ended(self, job: SubmittedJob) -> None:
        """Send the kept reports and the answer."""
        state = job.state if job.has_ended or self._broker.keeps_result(job) else "not-kept"
        for packet_type, bodies in ((_T.WORK_DATA, job.data), (_T.WORK_WARNING, job.warnings)):
            for body in bodies:
                self.tell(packet_type, job.handle_bytes, body)
        numerator, denominator = job.progress
        times = (b"%d" % job.ended_at, b"%d" % job.expires_at)
        content = (job.result or b"") if job.state == "complete" else job.reason
        self.tell(
            RESULT, job.handle_bytes, state.encode(), b"%d" % numerator, b"%d" % denominator, *times, b"0", content
        )


def _open(broker: Broker, body: bytes) -> list[bytes]:
    name, _, callbacks = body.partition(b"\0")
    return broker.sequels.open(name, callbacks)


def _end(broker: Broker, body: bytes) -> list[bytes]:
    name, _, how = body.partition(b"\0")
    return broker.end_batch(name, stops=how == b"stop")


_ABOUT_BATCHES: Final[dict[int, Callable[[Broker, bytes], list[bytes]]]] = {
    OPEN_BATCH: _open,
    GET_BATCH: lambda broker, name: broker.sequels.get(name),
    CLOSE_BATCH: lambda broker, name: broker.sequels.close(name),
    END_BATCH: _end,
}


def _submitted(packet_type: int, body: bytes) -> SubmittedJob:
    arguments = split_arguments(packet_type, body)
    function, unique, workload = to_text(arguments[0]), to_text(arguments[1]), arguments[-1]
    priority, background = _SUBMISSIONS[packet_type]
    return SubmittedJob(
        function=function,
        workload=workload,
        unique=unique,
        priority=priority,
        background=background,
        handle="",
        run_at=float(arguments[2]) if packet_type == _T.SUBMIT_JOB_EPOCH and arguments[2].isdigit() else 0.0,
        reducer=to_text(arguments[2]) if packet_type in _REDUCE else "",
    )


def _submitted_with(body: bytes, now: float) -> SubmittedJob:
    function, unique, rest = body.split(b"\0", 2)
    encoded, workload = cut_pairs(rest)
    return submitted_with(function, unique, split_pairs(encoded), workload, now)


def _status(job: SubmittedJob | None) -> tuple[bytes, bytes, bytes, bytes]:
    if job is None or job.has_ended:
        return b"0", b"0", b"0", b"0"
    numerator, denominator = job.progress
    return b"1", b"1" if job.state == "running" else b"0", b"%d" % numerator, b"%d" % denominator
