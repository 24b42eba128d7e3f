"""The options of one job, which gearman-server enforces: checked, and made the pairs of SUBMIT_JOB_WITH. Pure.

docs/client/options.md tells what they do; docs/protocol-extensions.md has the pairs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final, Literal, NamedTuple, Protocol, TypedDict

from gearman_client.arguments import Duration, to_duration_s
from gearman_client.client.run_time import unix_seconds
from gearman_client.errors import ArgumentError
from gearman_client.job_pairs import (
    HEADER_PREFIX,
    MAX_BATCH_ID_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_KEY_BYTES,
    MAX_LINKS,
    MAX_PAIRS_BYTES,
    MAX_PRIORITY,
    MAX_TAG_BYTES,
    MAX_TAGS,
    encode_link,
    encode_pairs,
)
from gearman_client.text import to_argument, to_function

#: The longest duration: ten years; nobody means more.
MAX_DURATION_S: Final = 3650 * 86400.0
MAX_RETRIES: Final = 1_000_000_000
MAX_SUBMISSION_BYTES: Final = 64
#: The priorities with names, as numbers.
PRIORITIES: Final = {"high": 8, "normal": 5, "low": 2}


class Encoded(Protocol):
    """A `FollowUp`."""

    @property
    def encoded(self) -> bytes: ...

    @property
    def untraced(self) -> bytes: ...


Follower = str | Encoded


class JobOptions(TypedDict, total=False):
    """The keyword arguments that only gearman-server knows; with another server the call is `NotSupported`.

    A duration is a number of seconds, a timedelta, or a text such as `"500ms"`, `"30s"`, `"5m"`, `"1h"` or `"7d"`.

    backoff, max_backoff: the wait before the next attempt, which doubles up to the other one.
    timeout: the limit for one attempt at the worker; 0: none. (`timeout_s` is the limit of the call.)
    keep_result: how long the result of a background job is kept; 0: not at all.
    expires: if the job has not begun by then it ends as expired: a datetime (without a zone: local time), Unix seconds,
        or a timedelta or a text, from now.
    expired_letter: an expired background job leaves a dead letter.
    tags: up to 16 texts of up to 64 bytes by which the job can be found.
    key: a text of up to 256 bytes that limits and fairness within the function go by, such as a customer.
    unique_for: the unique id counts for so long after the job's end, too.
    unique_until: `"start"`: the unique id counts only until the job begins; `"end"`: until it ends.
    replace: a background job's workload takes the place of that of a waiting one with the same unique id.
    submission: a text of up to 64 bytes that names this submission: sent twice within a day, it is one job.
    headers: up to 32 names and texts, 8 KiB in all, that travel to the function, such as `traceparent`.
    batch: the id of an open batch of jobs, which this background job joins.
    then: the next jobs of a chain, up to 16 functions or `FollowUp`s; each gets the result of the one before.
    on_failure: the function or `FollowUp` that is submitted if this job, or a later one of its chain, is not complete.
    """

    backoff: Duration | None
    max_backoff: Duration | None
    timeout: Duration | None
    keep_result: Duration | None
    expires: datetime | timedelta | float | str | None
    expired_letter: bool
    tags: Sequence[str] | None
    key: str | None
    unique_for: Duration | None
    unique_until: Literal["start", "end"] | None
    replace: bool
    submission: str | None
    headers: Mapping[str, str] | None
    batch: str | None
    then: Follower | Sequence[Follower] | None
    on_failure: Follower | None


class JobRetries(TypedDict, total=False):
    """The keyword argument for the attempts of one job.

    retries: how often gearman-server lets a worker try again after an attempt that failed or took too long.
    """

    retries: int


Pair = tuple[bytes, bytes]


class Pairs(NamedTuple):
    """The options of a submission for SUBMIT_JOB_WITH.

    encoded: the pairs with their end.
    names: the options that no other packet can carry; empty: a plain packet does nearly the same.
    context: those of the pairs that are headers of the active span.
    """

    encoded: bytes
    names: Sequence[str]
    context: Sequence[Pair]


#: Of a program that traces its requests with OpenTelemetry, the module that knows the span which is active.
_TRACING: Final = "opentelemetry.trace"
_OWN: Final = (HEADER_PREFIX, b"key", b"submission")


def to_pairs(options: Mapping[str, Any], reducer: bytes | None, *, background: bool) -> Pairs | None:
    """The pairs for the options of a call; None: a plain packet does exactly the same.

    Raises:
        ArgumentError: a value that the option can't have; the text names it, and what is allowed.
    """
    pairs: list[Pair] = [(b"background", b"1")] if background else []
    names = []
    for name, value in options.items():
        write = _WRITERS.get(name)
        if write is not None and value is not None and value is not False:
            pairs += write(name, value)
            names.append(name)
    for name in ("unique_for", "unique_until", "replace"):
        if name in names and options.get("unique") in (None, "", "-"):
            raise ArgumentError(f"{name}: it is about jobs with equal unique ids, so give `unique` a text of its own")
    if "unique_for" in names and "unique_until" in names:
        raise ArgumentError("unique_until: it excludes unique_for, give one of them")
    time_pairs = list(_times(options))
    priority = to_priority(options.get("priority", "normal"))
    is_plain_delay = time_pairs and background and priority == PRIORITIES["normal"] and reducer is None
    if time_pairs and not is_plain_delay:
        names += [name for name in ("at", "delay") if options.get(name) is not None]
    if reducer is not None and priority != PRIORITIES["normal"]:
        names.append("reducer with a priority")
    is_whole = is_plain_delay and time_pairs[0][0] == b"at" and time_pairs[0][1].endswith(b"000")
    # No reason for another packet by itself: a server that knows no options does without.
    context = list(_trace_headers(options.get("headers") or {}))
    is_plain = not names and (is_whole or not time_pairs) and not isinstance(options.get("priority"), int)
    if is_plain and not context:
        return None
    pairs += time_pairs
    if priority != PRIORITIES["normal"]:
        pairs.append((b"priority", b"%d" % priority))
    if reducer is not None:
        pairs.append((b"reducer", reducer))
    encoded = _encoded(pairs + context)
    if len(encoded) > MAX_PAIRS_BYTES:  # the server would refuse for a span what it takes without
        encoded, context = _encoded(_untraced(pairs, options)), []
    return Pairs(encoded, names, context)


def _untraced(pairs: list[Pair], options: Mapping[str, Any]) -> list[Pair]:
    """The pairs, but the jobs that are to follow bring no context of a span along either."""
    others = [pair for pair in pairs if pair[0] not in (b"then", b"on_failure")]
    links = [(name, link) for name in ("then", "on_failure") for link in _each(options.get(name) or ())]
    return others + [(name.encode(), to_link(name, link, is_traced=False)) for name, link in links]


def _encoded(pairs: list[Pair]) -> bytes:
    return encode_pairs(sorted(pairs, key=_is_own))  # the server looks up as a whole what comes before a job's own


def trace_context() -> dict[str, str]:
    """The headers `traceparent` and `tracestate` of the active span of OpenTelemetry; empty: there is none, or the
    program does not use it. Nothing is imported for that."""
    tracing = sys.modules.get(_TRACING)
    if tracing is None:
        return {}
    try:
        context = tracing.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}
        if context.trace_state:
            headers["tracestate"] = context.trace_state.to_header()
    except AttributeError:  # it is just being imported
        return {}
    return headers


def _trace_headers(given: Any) -> Iterator[Pair]:
    """The trace's headers as pairs, if the call gives no `traceparent` of its own, and there is room for them. A
    `tracestate` that it gives stands alone: a server refuses a name that comes twice."""
    if "traceparent" in given:
        return
    headers = {name: text for name, text in trace_context().items() if name not in given}
    if not headers or len(given) + len(headers) > MAX_HEADERS:
        return
    every = [to_argument(text, "header") for each in (given, headers) for pair in each.items() for text in pair]
    if sum(map(len, every)) <= MAX_HEADER_BYTES:
        for name, text in headers.items():
            yield HEADER_PREFIX + name.encode(), text.encode()


def _is_own(pair: Pair) -> bool:
    """Whether the pair is a different one in most jobs."""
    return pair[0].startswith(_OWN)


def to_priority(value: object) -> int:
    """A priority as a number from 0 to 9, the most urgent.

    Raises:
        ArgumentError: it is neither a name nor such a number.
    """
    number = PRIORITIES.get(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_PRIORITY:
        raise ArgumentError(
            f"priority {value!r}: expected high, normal or low, or a whole number from 0 to {MAX_PRIORITY}"
        )
    return number


def _times(options: Mapping[str, Any]) -> Iterator[Pair]:
    """When the job is to run, if not at once."""
    at, delay = options.get("at"), options.get("delay")
    if at is not None and delay is not None:
        raise ArgumentError("at and delay both say when the job is to run: give one of them")
    if delay is not None:
        delay_ms = _milliseconds("delay", delay)
        if delay_ms:
            yield b"delay", b"%d" % delay_ms
    if at is not None:
        yield b"at", b"%d" % max(0, ceil(unix_seconds(at, "at") * 1000))


def _milliseconds(name: str, value: Any) -> int:
    seconds = to_duration_s(value, name)
    if not 0 <= seconds <= MAX_DURATION_S:
        raise ArgumentError(f"{name} {value!r}: expected a duration from 0 to 3650 days")
    return ceil(round(seconds * 1000, 6))


def _duration(name: str, value: Any) -> Iterator[Pair]:
    yield name.encode(), b"%d" % _milliseconds(name, value)


def _retries(name: str, value: Any) -> Iterator[Pair]:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_RETRIES:
        raise ArgumentError(f"{name} {value!r}: expected a whole number from 0 to {MAX_RETRIES}")
    yield name.encode(), b"%d" % value


def _expiry(name: str, value: Any) -> Iterator[Pair]:
    if isinstance(value, timedelta | str):
        yield b"expires_in", b"%d" % _milliseconds(name, value)
        return
    seconds = unix_seconds(value, name)
    if seconds < MAX_DURATION_S:
        raise ArgumentError(
            f'{name} {value!r}: expected a time; a duration from now is a timedelta, or a text as "10m"'
        )
    yield b"expires", b"%d" % ceil(seconds * 1000)


def _flag(name: str, value: Any) -> Iterator[Pair]:
    if value is not True:
        raise ArgumentError(f"{name} {value!r}: expected True or False")
    yield name.encode(), b"1"


def _text(most: int) -> Callable[[str, Any], Iterator[Pair]]:
    def write(name: str, value: Any) -> Iterator[Pair]:
        yield name.encode(), _argument(value, name, most)

    return write


def _argument(value: Any, what: str, most: int) -> bytes:
    data = to_argument(value, what)
    if not 1 <= len(data) <= most:
        raise ArgumentError(f"{what} {value!r}: expected a text of 1 to {most} bytes, it has {len(data)}")
    return data


def _tags(name: str, value: Any) -> Iterator[Pair]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | set | frozenset):
        raise ArgumentError(f"{name} {value!r}: expected a list of texts")
    tags = dict.fromkeys(_argument(tag, "tag", MAX_TAG_BYTES) for tag in value)
    if len(tags) > MAX_TAGS:
        raise ArgumentError(f"{name}: {len(tags)} are given, at most {MAX_TAGS} are allowed")
    for tag in tags:
        yield b"tag", tag


def _headers(name: str, value: Any) -> Iterator[Pair]:
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{name} {value!r}: expected a dictionary of texts")
    size_bytes = 0
    for header, text in value.items():
        key, data = to_argument(header, "header's name"), to_argument(text, f"header {header}")
        if not key or b"=" in key:
            raise ArgumentError(f"{name}: the name {header!r} is empty, or holds a '='")
        size_bytes += len(key) + len(data)
        yield HEADER_PREFIX + key, data
    if len(value) > MAX_HEADERS or size_bytes > MAX_HEADER_BYTES:
        raise ArgumentError(
            f"{name}: {len(value)} with {size_bytes} bytes are given, "
            f"at most {MAX_HEADERS} with {MAX_HEADER_BYTES} bytes together are allowed"
        )


def to_link(name: str, value: Any, *, is_traced: bool = True) -> bytes:
    """A job that is to follow, given as a function's name or a `FollowUp`, with the context of the span in which that
    was made, unless it is not to be traced.

    Raises:
        ArgumentError: it is neither.
    """
    if isinstance(value, str):
        try:
            return encode_link(to_function(value))
        except ArgumentError as error:
            raise ArgumentError(f"{name} {value!r}: {error}") from None
    encoded = getattr(value, "encoded" if is_traced else "untraced", None)
    if not isinstance(encoded, bytes):
        raise ArgumentError(f"{name} {value!r}: expected the name of a function, or a FollowUp")
    return encoded


def _links(name: str, value: Any) -> Iterator[Pair]:
    links = _each(value)
    if len(links) > MAX_LINKS:
        raise ArgumentError(f"{name}: {len(links)} are given, at most {MAX_LINKS} are allowed")
    for link in links:
        yield name.encode(), to_link(name, link)


def _each(links: Any) -> Sequence[Any]:
    return links if isinstance(links, Sequence) and not isinstance(links, str) else [links]


def _link(name: str, value: Any) -> Iterator[Pair]:
    yield name.encode(), to_link(name, value)


def _until(name: str, value: Any) -> Iterator[Pair]:
    if value not in ("start", "end"):
        raise ArgumentError(f"{name} {value!r}: expected start or end")
    yield name.encode(), value.encode()


_WRITERS: Final[dict[str, Callable[[str, Any], Iterator[Pair]]]] = {
    "retries": _retries,
    "backoff": _duration,
    "max_backoff": _duration,
    "timeout": _duration,
    "keep_result": _duration,
    "expires": _expiry,
    "expired_letter": _flag,
    "tags": _tags,
    "key": _text(MAX_KEY_BYTES),
    "unique_for": _duration,
    "unique_until": _until,
    "replace": _flag,
    "submission": _text(MAX_SUBMISSION_BYTES),
    "headers": _headers,
    "batch": _text(MAX_BATCH_ID_BYTES),
    "then": _links,
    "on_failure": _link,
}
#: Without any of these, and with a name for its priority, a job is one for a plain packet.
PAIRED: Final = frozenset({*_WRITERS, "at", "delay", "reducer"})
