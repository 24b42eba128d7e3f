"""The packet of a submission, out of the arguments of a call. Pure: the clients send the packet and read the answers.

`Client`, task sets and the asynchronous client share it, so that each argument means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar

from gearman_client.address import Address
from gearman_client.arguments import Duration
from gearman_client.client.codec import BYTES, JSON, Codec
from gearman_client.client.job_options import PAIRED, PRIORITIES, JobOptions, to_pairs, to_priority, trace_context
from gearman_client.client.run_time import run_time
from gearman_client.errors import ArgumentError, NotSupported
from gearman_client.extensions import JOB_OPTIONS_OPTION, SUBMIT_JOB_WITH, SUBMIT_JOBS, SUBMIT_MANY_OPTION
from gearman_client.job_pairs import MAX_PRIORITY, priority_queue
from gearman_client.packet import (
    DEFAULT_MAX_BODY_BYTES,
    HEADER,
    REQUEST_MAGIC,
    PacketType,
    encode_request,
    encode_workloads,
)
from gearman_client.text import to_argument, to_function

Priority = Literal["high", "normal", "low"]

#: The unique id that makes the workload the key: the server holds equal workloads of a function for one job.
WORKLOAD_IS_KEY: Final = "-"

#: The bytes of workloads up to which their number is not checked one by one, if a client allows so many for one.
UNCHECKED_BYTES: Final = 256 * 1024

#: Asks whether a server takes options of jobs on this connection.
OPTIONS_REQUEST: Final = encode_request(PacketType.OPTION_REQ, JOB_OPTIONS_OPTION)
#: Asks whether it takes many jobs in one packet.
LISTS_REQUEST: Final = encode_request(PacketType.OPTION_REQ, SUBMIT_MANY_OPTION)

FormT = TypeVar("FormT")


class _Types(NamedTuple):
    """The packet types of foreground or of background jobs.

    named: by the name of the priority. plain: by the priority from 0 to 9.
    """

    named: Mapping[str, PacketType]
    plain: Sequence[PacketType]
    reduce: PacketType


def _types(low: PacketType, normal: PacketType, high: PacketType, reduce: PacketType) -> _Types:
    plain = [(high, normal, low)[priority_queue(priority)] for priority in range(MAX_PRIORITY + 1)]
    return _Types({name: plain[priority] for name, priority in PRIORITIES.items()}, plain, reduce)


_FOREGROUND: Final = _types(
    PacketType.SUBMIT_JOB_LOW, PacketType.SUBMIT_JOB, PacketType.SUBMIT_JOB_HIGH, PacketType.SUBMIT_REDUCE_JOB
)
_BACKGROUND: Final = _types(
    PacketType.SUBMIT_JOB_LOW_BG,
    PacketType.SUBMIT_JOB_BG,
    PacketType.SUBMIT_JOB_HIGH_BG,
    PacketType.SUBMIT_REDUCE_JOB_BACKGROUND,
)


class Unset(Enum):
    """The type of `UNSET`, which stands for an argument that was not given where None is a value."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class DelayOptions(TypedDict, total=False):
    """The keyword arguments of a job that is to run later.

    at: not before this time, a datetime (without a zone: local time) or Unix seconds.
    delay: not for this long: seconds, a timedelta or a text as `"5m"`.

    gearman-server counts milliseconds, in every priority and for foreground jobs too. With other servers only
    background jobs of normal priority can wait, and the time is rounded up to a whole second.
    """

    at: datetime | float | None
    delay: Duration | None


class CommonOptions(JobOptions, DelayOptions, total=False):
    """The keyword arguments that a single submission and many of them have.

    priority: `"high"`, `"normal"` or `"low"`, or a number from 0 to 9, the most urgent. Servers have three queues:
        7 to 9 is high, 4 to 6 normal, 0 to 3 low.
    """

    priority: Priority | int


class SubmissionOptions(CommonOptions, total=False):
    """The keyword arguments of every submission.

    unique: jobs of one function with equal ids are one job while it waits or runs; `"-"`: the workload is the id; None:
        a separate job.
    reducer: the name of the function that puts together what the parts of this job return (SUBMIT_REDUCE_JOB); only
        workers that ask with GRAB_JOB_ALL are told of it.
    """

    unique: str | None
    reducer: str | None


class Forms(NamedTuple, Generic[FormT]):
    """A job in the forms in which it can be sent.

    plain: for every server; None if no plain packet can carry what is asked for.
    with_options: for a connection with the extension `job-options`; None if a plain packet does exactly the same.
    names: the options that no plain packet can carry.
    """

    plain: FormT | None
    with_options: FormT | None
    names: Sequence[str]

    def chosen(self, takes_options: bool, server: Address) -> FormT:
        """The form for a server.

        Raises:
            NotSupported: the server does not know the options.
        """
        if self.with_options is not None and takes_options:
            return self.with_options
        if self.plain is None:
            names = ", ".join(self.names)
            raise NotSupported(f"{server} takes no {names} for a job, which was not sent: gearman-server does")
        return self.plain


class Submission(NamedTuple):
    """A job that is ready to be sent.

    forms: the packets for the server.
    server_key: equal keys are to meet on one server, where their jobs become one; empty: any server will do.
    codec: makes a value of the result.
    is_repeatable: one server takes it once, however often it is sent there.
    """

    forms: Forms[bytes]
    server_key: bytes
    codec: Codec[Any, Any]
    is_repeatable: bool = False


class Listing(NamedTuple):
    """How many background jobs are sent that differ only in their workloads, to a server that takes them in one packet.

    start: function and priority.
    body: makes the bytes of a workload.
    own_type: the type of those that are these bytes themselves, up to UNCHECKED_BYTES; None: there is none.
    """

    start: bytes
    body: Callable[[Any], bytes]
    own_type: type[bytes] | None

    def packet(self, bodies: Sequence[bytes]) -> bytes:
        """The packet of these workloads, which are no more than MAX_JOBS_SUBMITTED."""
        return encode_request(SUBMIT_JOBS, self.start, b"%d" % len(bodies), encode_workloads(bodies))


class ManyJobsForms(NamedTuple):
    """The forms of background jobs that differ only in their workloads.

    forms: functions that make the packet of each.
    listing: for all in one packet; None: with their options there is none.
    """

    forms: Forms[Callable[[Any], bytes]]
    listing: Listing | None


class Encoded(NamedTuple):
    """A workload in its final form, and the codec of its result, which stand instead of the client's own codec."""

    body: bytes
    codec: Codec[Any, Any]


@dataclass(frozen=True, slots=True)
class SubmissionSettings:
    """The settings of a client that concern its submissions.

    codec: between the caller's values and the bytes of workloads and results.
    namespace: put before the name of each function, as by libgearman's `set_namespace`; its workers do the same.
    max_workload_bytes: the most bytes of a workload, after the codec.
    check_wait: called with a function's name before its job is awaited; raises an exception to refuse that.
    """

    codec: Codec[Any, Any] = BYTES
    namespace: str = ""
    max_workload_bytes: int = DEFAULT_MAX_BODY_BYTES
    check_wait: Callable[[str], None] | None = None

    def foreground(self, function: str, workload: Any, json: Any, options: SubmissionOptions) -> Submission:
        """The submission of a job whose result the client awaits.

        workload, json: exactly one of them is not UNSET; `json` is sent as JSON, `workload` through the codec.

        Raises:
            ArgumentError: a name, an id, an option or the workload can't be sent.
            TypeError: none or both of `workload` and `json` are given.
        """
        if self.check_wait is not None:
            self.check_wait(function)
        return self._submission(_FOREGROUND, (function, workload, json), options)

    def background(
        self, function: str, workload: Any, json: Any, options: SubmissionOptions, run_at: int | None = None
    ) -> Submission:
        """The submission of a job that is left with the server; `run_at` comes from `when`.

        Raises:
            ArgumentError, TypeError: as `foreground`.
        """
        return self._submission(_BACKGROUND, (function, workload, json), options, run_at)

    def encoder(
        self, function: str, options: CommonOptions, run_at: int | None = None, *, background: bool
    ) -> Forms[Callable[[Any], bytes]]:
        """Functions that make the packet of each workload, for many jobs that differ only in it and have no id.

        Raises:
            ArgumentError: a name or an option can't be sent; from the returned functions: a workload.
        """
        if self.check_wait is not None and not background:
            self.check_wait(function)
        if options.get("submission") is not None:
            raise ArgumentError("submission: with one for all of them, many jobs would be one")
        types = _BACKGROUND if background else _FOREGROUND
        return self._forms(
            types, function, b"", options, run_at, lambda kind, start: self._encoder(function, kind, start)
        )

    def many(self, function: str, options: CommonOptions, run_at: int | None = None) -> ManyJobsForms:
        """The forms of many background jobs.

        Raises:
            ArgumentError: as `encoder`.
        """
        forms = self.encoder(function, options, run_at, background=True)
        priority = options.get("priority", "normal")
        is_listed = run_at is None and isinstance(priority, str) and PAIRED.isdisjoint(options)
        if not is_listed or trace_context():  # a list holds nothing but workloads
            return ManyJobsForms(forms, None)
        return ManyJobsForms(forms, self._listing(function, to_priority(priority)))

    def _listing(self, function: str, priority: int) -> Listing:
        encode, most = self.codec.encode, self.max_workload_bytes

        def body(workload: Any) -> bytes:
            data: bytes = workload.body if type(workload) is Encoded else encode(workload)
            if len(data) > most:
                raise self._too_large(function, data)
            return data

        start = b"%b\0%d" % (self.function_name(function), priority)
        return Listing(start, body, bytes if self.codec is BYTES and most >= UNCHECKED_BYTES else None)

    def _encoder(self, function: str, packet_type: int, start: bytes) -> Callable[[Any], bytes]:
        encode, most = self.codec.encode, self.max_workload_bytes
        is_plain = self.codec is BYTES
        # Many workloads have the length of the one before, and so the same packet in front of them.
        length, before = -1, b""

        def packet(workload: Any) -> bytes:
            nonlocal length, before
            if is_plain and type(workload) is bytes:
                body = workload
            else:
                body = workload.body if type(workload) is Encoded else encode(workload)
            if len(body) != length:
                if len(body) > most:
                    raise self._too_large(function, body)
                length = len(body)
                before = HEADER.pack(REQUEST_MAGIC, packet_type, len(start) + length) + start
            return before + body

        return packet

    def check_result(self, handle: str) -> None:
        """Check that a result may be awaited; of a handle that is plain text nobody knows the function.

        Raises:
            Exception: what `check_wait` raises.
        """
        function = getattr(handle, "function", "")
        if self.check_wait is not None and function:
            self.check_wait(function)

    def function_name(self, function: str) -> bytes:
        """The name of a function as the job server knows it."""
        name = to_function(function)
        return to_argument(self.namespace, "namespace") + name if self.namespace else name

    def _submission(
        self,
        types: _Types,
        job: tuple[str, Any, Any],
        options: SubmissionOptions,
        run_at: int | None = None,
    ) -> Submission:
        function, workload, json = job
        codec, body = self._encoded(function, workload, json)
        unique = options.get("unique")
        unique_id = b"" if unique is None else to_argument(unique, "unique id")
        key = body if unique == WORKLOAD_IS_KEY else unique_id
        # Most jobs have nothing that needs another packet than the oldest: they take a third of the time.
        priority = options.get("priority", "normal")
        plain_type = types.named.get(priority) if isinstance(priority, str) else None
        if plain_type is not None and run_at is None and PAIRED.isdisjoint(options) and not trace_context():
            start = b"%b\0%b\0" % (self.function_name(function), unique_id)
            return Submission(Forms(_packet(plain_type, start, body), None, ()), key, codec)

        def make(packet_type: int, start: bytes) -> bytes:
            return _packet(packet_type, start, body)

        forms = self._forms(types, function, unique_id, options, run_at, make)
        return Submission(forms, key, codec, is_repeatable=options.get("submission") is not None)

    def _forms(
        self,
        types: _Types,
        function: str,
        unique_id: bytes,
        options: Mapping[str, Any],
        run_at: int | None,
        make: Callable[[int, bytes], FormT],
    ) -> Forms[FormT]:
        """What `make` makes of each packet type that can carry the job, and of the arguments before its workload."""
        name, reducer = self.function_name(function), options.get("reducer")
        reducer_name = None if reducer is None else self.function_name(reducer)
        pairs = to_pairs(options, reducer_name, background=types is _BACKGROUND)
        plain = None
        if pairs is None or not pairs.names:
            kind, more = types.plain[to_priority(options.get("priority", "normal"))], b""
            if run_at is not None:
                kind, more = PacketType.SUBMIT_JOB_EPOCH, b"%d\0" % run_at
            elif reducer_name is not None:
                # The fourth text is libgearman's slot for an aggregator, which servers read and throw away.
                kind, more = types.reduce, reducer_name + b"\0\0"
            plain = make(kind, name + b"\0" + unique_id + b"\0" + more)
        if pairs is None:
            return Forms(plain, None, ())
        start = name + b"\0" + unique_id + b"\0" + pairs.encoded
        return Forms(plain, make(SUBMIT_JOB_WITH, start), pairs.names)

    def _encoded(self, function: str, workload: Any, json: Any) -> tuple[Codec[Any, Any], bytes]:
        if json is UNSET:
            if workload is UNSET:
                raise TypeError("a job needs a workload, or json=…")
            if type(workload) is Encoded:
                body, codec = workload
            else:
                codec = self.codec
                body = codec.encode(workload)
        elif workload is UNSET:
            codec = JSON
            body = codec.encode(json)
        else:
            raise TypeError("workload and json both say what the job gets: give one of them")
        if len(body) > self.max_workload_bytes:
            raise self._too_large(function, body)
        return codec, body

    def _too_large(self, function: str, body: bytes) -> ArgumentError:
        return ArgumentError(
            f"the workload for {function} has {len(body)} bytes, and the client's max_workload_bytes is "
            f"{self.max_workload_bytes}: leave the data elsewhere and send its place, or raise the limit"
        )


def when(options: DelayOptions, unix_now: float) -> int | None:
    """The time at which the job is to run, for `SubmissionSettings.background`; None: at once.

    Raises:
        ArgumentError: the options name no time, or two.
    """
    return run_time(options.get("at"), options.get("delay"), unix_now)


def _packet(packet_type: int, start: bytes, body: bytes) -> bytes:
    return HEADER.pack(REQUEST_MAGIC, packet_type, len(start) + len(body)) + start + body
