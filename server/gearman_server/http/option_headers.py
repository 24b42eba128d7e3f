"""The options of a job in the headers of an HTTP request, as the pairs of SUBMIT_JOB_WITH. Pure.

`X-Gearman-Option-NAME` has an option, with durations and times as people write them, and `X-Gearman-Header-NAME` a
header of the job. The broker checks the pairs; what can't be read at all is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from gearman_client.job_pairs import HEADER_PREFIX, encode_link
from gearman_process.http.messages import HttpRefusal
from gearman_process.values.durations import parse_duration_s
from gearman_process.values.quoting import not_among, shown

_OPTION: Final = "x-gearman-option-"
_HEADER: Final = "x-gearman-header-"
_FLAGS: Final = {"true": b"1", "false": b"0"}

Pair = tuple[bytes, bytes]


def job_pairs(headers: Iterable[tuple[str, str]]) -> list[Pair]:
    """The options and headers of the job that a request submits. Names are in lower case.

    Raises:
        HttpRefusal: 400, one of them is unknown or can't be read.
    """
    pairs: list[Pair] = []
    for name, value in headers:
        if name.startswith(_HEADER):
            pairs.append((HEADER_PREFIX + name[len(_HEADER) :].encode("latin-1"), value.encode("latin-1")))
        elif name.startswith(_OPTION):
            option = name[len(_OPTION) :]
            if option not in _OPTIONS:
                raise HttpRefusal(400, not_among(option, tuple(_OPTIONS), "option"))
            try:
                pairs += _OPTIONS[option](value.strip())
            except ValueError as error:
                raise HttpRefusal(400, f"X-Gearman-Option-{option.title()}: {error}") from None
    return pairs


def _as_it_is(key: bytes) -> Callable[[str], Iterator[Pair]]:
    def read(value: str) -> Iterator[Pair]:
        yield key, value.encode("latin-1")

    return read


def _duration(key: bytes) -> Callable[[str], Iterator[Pair]]:
    def read(value: str) -> Iterator[Pair]:
        yield key, _milliseconds(parse_duration_s(value))

    return read


def _flag(key: bytes) -> Callable[[str], Iterator[Pair]]:
    def read(value: str) -> Iterator[Pair]:
        if value.lower() not in _FLAGS:
            raise ValueError(f"true or false is expected, not {shown(value)}")
        yield key, _FLAGS[value.lower()]

    return read


def _time(key: bytes, relative: bytes) -> Callable[[str], Iterator[Pair]]:
    def read(value: str) -> Iterator[Pair]:
        unix_s = _unix_s(value)
        if unix_s is not None:
            yield key, _milliseconds(unix_s)
            return
        try:
            yield relative, _milliseconds(parse_duration_s(value))
        except ValueError:
            raise ValueError(
                f"a time such as 2030-01-31T12:00:00Z or 1900000000, or a duration from now such as 10m, is expected, "
                f"not {shown(value)}"
            ) from None

    return read


def _tags(value: str) -> Iterator[Pair]:
    for tag in value.split(","):
        yield b"tag", tag.strip().encode("latin-1")


def _functions(value: str) -> Iterator[Pair]:
    for function in value.split(","):
        yield b"then", encode_link(function.strip().encode("latin-1"))


def _function(value: str) -> Iterator[Pair]:
    yield b"on_failure", encode_link(value.encode("latin-1"))


def _unix_s(value: str) -> float | None:
    """A time of the wall clock; None: the text is none."""
    if re.fullmatch(r"[0-9]{9,11}(\.[0-9]{1,6})?", value):
        return float(value)
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    if time.tzinfo is None:
        raise ValueError(
            f"{shown(value)} needs a time zone: write {value}Z, if UTC is meant, or an offset as in +02:00"
        )
    return max(0.0, time.timestamp())


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % round(seconds * 1000)


_OPTIONS: Final[dict[str, Callable[[str], Iterable[Pair]]]] = {
    "at": _time(b"at", b"delay"),
    "backoff": _duration(b"backoff"),
    "batch": _as_it_is(b"batch"),
    "delay": _duration(b"delay"),
    "expired-letter": _flag(b"expired_letter"),
    "expires": _time(b"expires", b"expires_in"),
    "keep-result": _duration(b"keep_result"),
    "key": _as_it_is(b"key"),
    "max-backoff": _duration(b"max_backoff"),
    "on-failure": _function,
    "priority": _as_it_is(b"priority"),
    "replace": _flag(b"replace"),
    "retries": _as_it_is(b"retries"),
    "submission": _as_it_is(b"submission"),
    "tag": _tags,
    "tags": _tags,
    "then": _functions,
    "timeout": _duration(b"timeout"),
    "unique-for": _duration(b"unique_for"),
    "unique-until": _as_it_is(b"unique_until"),
}
