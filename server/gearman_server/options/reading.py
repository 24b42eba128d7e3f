"""Reads the pairs of SUBMIT_JOB_WITH and of stored jobs, and refuses what is wrong by the key's name. Pure."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from math import inf
from typing import Any, Final, NamedTuple

from gearman_client.extensions import INVALID_OPTION
from gearman_client.job_pairs import (
    DEFAULT_PRIORITY,
    HEADER_PREFIX,
    MAX_BATCH_ID_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_KEY_BYTES,
    MAX_LINKS,
    MAX_PAIRS_BYTES,
    MAX_PRIORITY,
    MAX_SUBMISSION_BYTES,
    MAX_TAG_BYTES,
    MAX_TAGS,
    priority_queue,
    split_link,
    split_pairs,
)
from gearman_server.errors import RefusedError
from gearman_server.options.job_options import NO_OPTIONS, JobOptions, Link, SubmissionOptions

#: Ten years: nobody means more.
_MAX_MS: Final = 3650 * 86_400_000
#: The year 2286, for a time of the wall clock.
_MAX_UNIX_MS: Final = 10**13
_MAX_RETRIES: Final = 10**9
_MAX_REDUCER_BYTES: Final = 64
_MAX_UNIQUE_BYTES: Final = 64

#: Headers that count for no option: clients add them by themselves to each job, if their program traces its requests.
_OF_TRACES: Final = frozenset({b"traceparent", b"tracestate"})

#: Submissions with equal pairs share what was read of them: this many of at most that size.
MAX_KNOWN: Final = 1024
KNOWN_BYTES: Final = 512


class _Unfit(ValueError):
    """A value is not what the key takes; the message says what that is."""


def _whole(most: int) -> Callable[[bytes], int]:
    def read(value: bytes) -> int:
        if not value.isdigit() or len(value) > len(str(most)) or int(value) > most:
            raise _Unfit(f"a whole number from 0 to {most} is expected")
        return int(value)

    return read


def _seconds(most_ms: int) -> Callable[[bytes], float]:
    def read(value: bytes) -> float:
        if not value.isdigit() or len(value) > len(str(most_ms)) or int(value) > most_ms:
            raise _Unfit(f"whole milliseconds from 0 to {most_ms} are expected")
        return int(value) / 1000

    return read


def _text(most: int) -> Callable[[bytes], bytes]:
    def read(value: bytes) -> bytes:
        if not 1 <= len(value) <= most:
            raise _Unfit(f"a text of 1 to {most} bytes is expected")
        return value

    return read


def read_link(value: bytes) -> Link:
    """A job that is to follow another.

    Raises:
        ValueError: it says no such job, or has options that are unknown, wrong, or make no sense here.
    """
    own, pairs = split_link(value)
    if len(own.get(b"unique", b"")) > _MAX_UNIQUE_BYTES:
        raise ValueError(f"unique: at most {_MAX_UNIQUE_BYTES} bytes are allowed")
    for key, text in pairs:
        if key in _NOT_IN_LINKS:
            raise ValueError(f"{key.decode()}: a job that follows another can't have it")
        if b"\0" in key + text:
            raise ValueError(f"{_shown(key)}: keys and values hold no zero byte")
    joined = b"\0".join(b"%s=%s" % pair for pair in pairs)
    try:
        names = read_options(joined).names
    except RefusedError as error:
        raise ValueError(error.text.decode()) from None
    return Link(own[b"function"], own.get(b"unique", b""), own.get(b"workload"), joined, names, value)


def _link(value: bytes) -> Link:
    try:
        return read_link(value)
    except ValueError as error:
        raise _refused(f"a job that is to follow: {error}") from None


def _flag(value: bytes) -> bool:
    if value not in (b"0", b"1"):
        raise _Unfit("0 or 1 is expected")
    return value == b"1"


def _until_start(value: bytes) -> bool:
    if value not in (b"start", b"end"):
        raise _Unfit("start or end is expected")
    return value == b"start"


_duration: Final = _seconds(_MAX_MS)
_time: Final = _seconds(_MAX_UNIX_MS)


class _Kind(NamedTuple):
    """A key that is given once at most."""

    field: str
    read: Callable[[bytes], Any]
    #: Its name in `allow_options`; empty: it is always allowed.
    name: str = ""


#: Keys whose values do not stay with the job as they are.
_REQUEST_KEYS: Final = {
    b"background": _Kind("is_background", _flag),
    b"reducer": _Kind("reducer", _text(_MAX_REDUCER_BYTES)),
    b"at": _Kind("at", _time, "at"),
    b"delay": _Kind("delay_s", _duration, "delay"),
    b"expires": _Kind("expires_at", _time, "expires"),
    b"expires_in": _Kind("expires_in_s", _duration, "expires"),
    b"replace": _Kind("replaces", _flag, "replace"),
}
_JOB_KEYS: Final = {
    b"retries": _Kind("retries", _whole(_MAX_RETRIES), "retries"),
    b"backoff": _Kind("backoff_s", _duration, "backoff"),
    b"max_backoff": _Kind("max_backoff_s", _duration, "max_backoff"),
    b"timeout": _Kind("timeout_s", _duration, "timeout"),
    b"keep_result": _Kind("keep_result_s", _duration, "keep_result"),
    b"expired_letter": _Kind("leaves_letter", _flag, "expires"),
    b"unique_for": _Kind("unique_for_s", _duration, "unique_for"),
    b"unique_until": _Kind("is_unique_until_start", _until_start, "unique_until"),
    b"priority": _Kind("priority", _whole(MAX_PRIORITY), "priority"),
    b"batch": _Kind("batch", _text(MAX_BATCH_ID_BYTES), "batch"),
    b"on_failure": _Kind("on_failure", _link, "then"),
}
#: Those that are different in most jobs; the names of their fields are those in `allow_options`, too.
_OWN_KEYS: Final = {b"submission": ("submission", _text(MAX_SUBMISSION_BYTES)), b"key": ("key", _text(MAX_KEY_BYTES))}
_OWN: Final = (HEADER_PREFIX, b"submission=", b"key=")
_tag: Final = _text(MAX_TAG_BYTES)
_TAG: Final = b"tag"
_THEN: Final = b"then"
#: A job that follows another is a background job of the same batch, and all of a chain stand side by side.
_NOT_IN_LINKS: Final = frozenset({b"background", b"batch", b"then", b"on_failure"})
#: Two keys that say the same in two ways.
_RIVALS: Final = ((b"at", b"delay"), (b"expires", b"expires_in"), (b"unique_for", b"unique_until"))
#: What a worker is told of.
_TOLD: Final = frozenset({b"timeout", b"key", b"priority", b"batch", _TAG})
#: What stays with a job, but is none of its `JobOptions`.
_BESIDE: Final = frozenset({b"reducer", b"at", b"delay", b"expires", b"expires_in"})
#: What makes something follow its end.
_SEQUELS: Final = frozenset({b"batch", _THEN, b"on_failure"})
#: What needs more at the submission than to be given to the job.
_NOT_SIMPLE: Final = _BESIDE | _SEQUELS | {b"replace", b"unique_for", b"unique_until"}
_KEYS: Final = b", ".join(sorted([*_REQUEST_KEYS, *_JOB_KEYS, *_OWN_KEYS, _TAG, _THEN, HEADER_PREFIX + b"NAME"]))


class OptionsReader:
    """Reads pairs. What is the same in many jobs is read once."""

    def __init__(self) -> None:
        #: By pairs, or by those of them that are not each job's own.
        self._known: dict[bytes, SubmissionOptions] = {}

    def read(self, pairs: bytes) -> SubmissionOptions:
        """The options in pairs without their end.

        Raises:
            RefusedError: one of them is unknown or wrong.
        """
        known = self._known.get(pairs)
        if known is not None:
            return known
        if len(pairs) > MAX_PAIRS_BYTES:
            raise _refused(f"the options take {len(pairs)} bytes; at most {MAX_PAIRS_BYTES} are allowed")
        shared: list[bytes] = []
        own: list[bytes] = []
        for pair in pairs.split(b"\0"):
            (own if pair.startswith(_OWN) else shared).append(pair)
        options = self._shared(b"\0".join(shared))
        return _with_own(options, own) if own else options

    def _shared(self, pairs: bytes) -> SubmissionOptions:
        known = self._known.get(pairs)
        if known is None:
            known = _read_shared(pairs)
            if len(pairs) <= KNOWN_BYTES:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[pairs] = known
        return known


def read_options(pairs: bytes) -> SubmissionOptions:
    """The options in pairs without their end, which nobody is expected to read again.

    Raises:
        RefusedError: one of them is unknown or wrong.
    """
    return OptionsReader().read(pairs) if pairs else NO_OPTIONS


def _read_shared(pairs: bytes) -> SubmissionOptions:
    """The options in pairs of which none is each job's own."""
    if not pairs:
        return NO_OPTIONS
    try:
        split = split_pairs(pairs)
    except ValueError as error:
        raise _refused(str(error)) from None
    reading = _Reading()
    for key, value in split:
        try:
            reading.take(key, value)
        except _Unfit as error:
            raise _refused(f"{_shown(key)}: {error}, not {_shown(value)!r}") from None
    return reading.result(split)


class _Reading:
    """The shared pairs of submissions, taken one by one."""

    def __init__(self) -> None:
        #: Fields of SubmissionOptions, and of JobOptions.
        self._request: dict[str, Any] = {}
        self._job: dict[str, Any] = {}
        self._names: set[str] = set()
        self._tags: list[bytes] = []
        self._links: list[Link] = []
        self._seen: set[bytes] = set()

    def take(self, key: bytes, value: bytes) -> None:
        """Note one pair."""
        if key == _TAG:
            self._add_tag(value)
        elif key == _THEN:
            self._add_link(value)
        elif key in _REQUEST_KEYS:
            self._set(self._request, key, _REQUEST_KEYS[key], value)
        elif key in _JOB_KEYS:
            self._set(self._job, key, _JOB_KEYS[key], value)
        else:
            raise _refused(f"unknown option {_shown(key)}. Known: {_KEYS.decode()}")

    def result(self, split: list[tuple[bytes, bytes]]) -> SubmissionOptions:
        """The options, of these pairs."""
        for one, other in _RIVALS:
            if one in self._seen and other in self._seen:
                raise _refused(f"{other.decode()}: it excludes {one.decode()}, give one of them")
        if self._job.get("max_backoff_s", inf) < self._job.get("backoff_s", 0.0):
            raise _refused("max_backoff: it is less than backoff, raise it")
        job = self._job | {"tags": tuple(dict.fromkeys(self._tags)), "then": tuple(self._links)}
        job["is_followed"] = bool(self._seen & _SEQUELS)
        kept = [b"%s=%s" % pair for pair in split if pair[0] not in _REQUEST_KEYS]
        told = [b"%s=%s" % pair for pair in split if pair[0] in _TOLD]
        return SubmissionOptions(
            names=frozenset(self._names),
            queue=priority_queue(self._job.get("priority", DEFAULT_PRIORITY)),
            is_simple=not self._seen & _NOT_SIMPLE,
            are_alone=not self._seen & _BESIDE,
            job=JobOptions(**job, stored=b"\0".join(kept), told=b"\0".join(told)) if kept else None,
            **self._request,
        )

    def _set(self, fields: dict[str, Any], key: bytes, kind: _Kind, value: bytes) -> None:
        if key in self._seen:
            raise _Unfit("it is given twice")
        self._seen.add(key)
        fields[kind.field] = kind.read(value)
        if kind.name:
            self._names.add(kind.name)

    def _add_tag(self, value: bytes) -> None:
        self._tags.append(_tag(value))
        self._names.add("tags")
        if len(self._tags) > MAX_TAGS:
            raise _Unfit(f"at most {MAX_TAGS} are allowed")

    def _add_link(self, value: bytes) -> None:
        self._links.append(_link(value))
        self._names.add("then")
        self._seen.add(_THEN)
        if len(self._links) > MAX_LINKS:
            raise _Unfit(f"at most {MAX_LINKS} are allowed")


def _with_own(options: SubmissionOptions, own: list[bytes]) -> SubmissionOptions:
    """The same options with those pairs that are the job's own: its headers, key, and the id of its submission."""
    fields: dict[str, Any] = {}
    headers: dict[bytes, bytes] = {}
    kept = []
    for pair in own:
        key, _, value = pair.partition(b"=")
        try:
            if key.startswith(HEADER_PREFIX):
                _add_header(headers, key[len(HEADER_PREFIX) :], value)
                kept.append(pair)
            else:
                field, read = _OWN_KEYS[key]
                if field in fields:
                    raise _Unfit("it is given twice")
                fields[field] = read(value)
                if key in _TOLD:
                    kept.append(pair)
        except _Unfit as error:
            raise _refused(f"{_shown(key)}: {error}, not {_shown(value)!r}") from None
    names = {*options.names, *fields}
    if not headers.keys() <= _OF_TRACES:
        names.add("headers")
    if "submission" in fields:
        fields |= {"is_simple": False, "are_alone": False}
    fields |= {"own": b"\0".join(kept), "names": frozenset(names)}
    return _changed(options, fields)


def _changed(options: SubmissionOptions, fields: dict[str, Any]) -> SubmissionOptions:
    """A copy with some other fields. `dataclasses.replace` would take five times as long (measured)."""
    copy = object.__new__(SubmissionOptions)
    copy.__dict__.update(options.__dict__, **fields)
    return copy


def _add_header(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if not name or name in headers:
        raise _Unfit("each header has a name of its own")
    headers[name] = value
    if len(headers) > MAX_HEADERS or sum(map(len, chain(headers, headers.values()))) > MAX_HEADER_BYTES:
        raise _Unfit(f"at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together are allowed")


def _shown(text: bytes) -> str:
    return text[:60].decode("utf-8", "backslashreplace")


def _refused(text: str) -> RefusedError:
    return RefusedError(INVALID_OPTION, text.encode())
