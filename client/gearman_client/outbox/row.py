"""A row of the outbox, out of the arguments of a call. Pure.

It holds what SUBMIT_JOB_WITH would: the arguments are checked as those of `Client.submit_background`, before anything
is inserted. Times from now become points in time, because a row may wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote_from_bytes

from gearman_client.arguments import to_duration_s
from gearman_client.client.job_options import JobRetries
from gearman_client.client.server_choice import hash_of
from gearman_client.client.submission import WORKLOAD_IS_KEY, SubmissionOptions, SubmissionSettings
from gearman_client.errors import ArgumentError
from gearman_client.job_pairs import MAX_PAIRS_BYTES, cut_pairs, split_pairs
from gearman_client.packet import HEADER

#: The longest that a server takes.
MAX_FUNCTION_BYTES: Final = 512
MAX_UNIQUE_BYTES: Final = 64
#: Pairs that have columns of their own, or that every row has.
_LEFT_OUT: Final = frozenset({b"background", b"submission"})


class OutboxOptions(SubmissionOptions, JobRetries, total=False):
    """The keyword arguments of a job in the outbox: those of `Client.submit_background` but `timeout_s` and `batch`.

    `delay`, and durations in `expires`, count from the call.
    """


class Row(NamedTuple):
    """What a program inserts; the columns of `schema.GIVEN`.

    submission: the id by which a job server takes the job once.
    order_key: rows with equal ones are handed over in their order; None: in any.
    server_number: equal numbers go to the same server, as those of equal unique ids do with a `Client`; None: to any.
    job_options: the pairs of SUBMIT_JOB_WITH as a percent-encoded query.
    created_ms: Unix milliseconds.
    """

    submission: str
    function_name: str
    unique_key: str
    order_key: str | None
    server_number: int | None
    job_options: str
    workload: bytes
    created_ms: int


def row_of(
    settings: SubmissionSettings,
    job: tuple[str, Any, Any],
    options: OutboxOptions,
    submission: str,
    unix_now: float,
) -> Row:
    """The row of a job.

    job: the function, the workload and the value for JSON, as `SubmissionSettings.background` takes them.
    submission: its id, if the options have none.

    Raises:
        ArgumentError: a name, an option or the workload can't be sent.
        TypeError: none or both of the workload and the value for JSON are given.
    """
    if options.get("batch") is not None:
        raise ArgumentError(
            "batch: one server has it, and may have closed it before the outbox's row arrives there: "
            "submit the jobs of a batch with Client.batch"
        )
    given = SubmissionOptions(**{**_in_points_of_time(options, unix_now), "submission": submission})  # type: ignore[typeddict-item]
    packet = settings.background(*job, given).forms.with_options
    assert packet is not None  # there is an option: the submission
    name, unique, rest = packet[HEADER.size :].split(b"\0", 2)
    encoded, workload = cut_pairs(rest)
    if len(encoded) > MAX_PAIRS_BYTES:
        raise ArgumentError(f"the options have {len(encoded)} bytes together, at most {MAX_PAIRS_BYTES} are allowed")
    _check_length("function's name", name, MAX_FUNCTION_BYTES)
    _check_length("unique id", unique, MAX_UNIQUE_BYTES)
    pairs = [(key, value) for key, value in split_pairs(encoded) if key not in _LEFT_OUT]
    key = next((value for key, value in pairs if key == b"key"), b"")
    own_unique = b"" if options.get("unique") == WORKLOAD_IS_KEY else unique
    order_key, meeting = key or own_unique, (workload if unique and not own_unique else unique) or key
    return Row(
        submission,
        _text("function's name", name),
        _text("unique id", unique),
        _text("key", order_key) if order_key else None,
        hash_of(meeting) if meeting else None,
        "&".join(f"{quote_from_bytes(key, ':')}={quote_from_bytes(value)}" for key, value in pairs),
        workload,
        int(unix_now * 1000),
    )


def _in_points_of_time(options: OutboxOptions, unix_now: float) -> Mapping[str, Any]:
    """The options, with times from now as points in time."""
    given: dict[str, Any] = {**options}
    if given.get("delay") is not None:
        if given.get("at") is not None:
            raise ArgumentError("at and delay both say when the job is to run: give one of them")
        delay_s = to_duration_s(given.pop("delay"), "delay")
        if not delay_s >= 0:
            raise ArgumentError(f"delay {options['delay']!r}: expected seconds from 0 up")
        given["at"] = unix_now + delay_s if delay_s else None
    if isinstance(given.get("expires"), timedelta | str):
        given["expires"] = unix_now + to_duration_s(given["expires"], "expires")
    return given


def _check_length(what: str, data: bytes, most: int) -> None:
    if len(data) > most:
        raise ArgumentError(f"the {what} has {len(data)} bytes, at most {most} are allowed")


def _text(what: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ArgumentError(f"the {what} {data!r} is not UTF-8, and a database's text has to be") from None
