"""The options of one submission, and those that stay with its job. Pure data; jobs with equal options share them.

What is different in most jobs, its headers for instance, is beside them: nobody reads it but the worker, so it stays as
it was sent. They have no slots: a copy with a few other fields is made from the dictionary (`reading`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Link:
    """A background job that is submitted when another one has ended."""

    function: bytes
    unique: bytes
    #: None: what is known of the end that it follows.
    workload: bytes | None
    #: The pairs of its own options, without their end.
    pairs: bytes
    #: The names of these options, as `allow_options` has them.
    names: frozenset[str]
    #: As it was given.
    encoded: bytes


@dataclass(frozen=True)
class JobOptions:
    """What stays with a job until its end, and many have in common. In place of None the function's policy holds."""

    #: Further attempts after one that failed or took too long.
    retries: int | None = None
    backoff_s: float | None = None
    max_backoff_s: float | None = None
    #: The longest time of one attempt; 0 = no limit.
    timeout_s: float | None = None
    #: How long the result of a background job is kept; 0 = not at all.
    keep_result_s: float | None = None
    #: Whether a dead letter is left if it expires.
    leaves_letter: bool = False
    tags: tuple[bytes, ...] = ()
    #: For how long its unique key is known after its end.
    unique_for_s: float = 0.0
    #: Whether its unique key is free again once it begins.
    is_unique_until_start: bool = False
    #: From 0 to 9, the most urgent; None: it was not given.
    priority: int | None = None
    #: The batch that it is part of; empty: none.
    batch: bytes = b""
    #: The jobs that follow one another once this one is complete, and the one that follows if one of them is not.
    then: tuple[Link, ...] = ()
    on_failure: Link | None = None
    #: Whether anything follows its end. Such a job is not given out before its row is written.
    is_followed: bool = False
    #: The pairs for its row in a store.
    stored: bytes = b""
    #: The pairs for its worker; empty: there is nothing to tell.
    told: bytes = b""


@dataclass(frozen=True)
class SubmissionOptions:
    """All options of a submission."""

    #: The names of the options that were given, as `allow_options` has them.
    names: frozenset[str] = frozenset()
    is_background: bool = False
    #: The queue: HIGH, NORMAL or LOW.
    queue: int = 1
    reducer: bytes | None = None
    #: The job is not run before this time (Unix seconds), or not before so many seconds are over.
    at: float | None = None
    delay_s: float | None = None
    #: The job ends unless it has begun by this time (Unix seconds), or within so many seconds.
    expires_at: float | None = None
    expires_in_s: float | None = None
    #: Whether its workload takes the place of a waiting job's with the same unique key.
    replaces: bool = False
    #: Whether nothing has to be done at the submission but to give the job what stays with it.
    is_simple: bool = True
    #: Whether nothing but options stays with the job: no time, no reducer, no id of its submission.
    are_alone: bool = True
    #: What stays with the job and is the same in many others; None: nothing.
    job: JobOptions | None = None
    #: The pairs of its own: its key, its headers.
    own: bytes = b""
    #: What limits and fairness within the function go by; empty: none.
    key: bytes = b""
    #: The id of the submission; empty: it has none.
    submission: bytes = b""


NO_OPTIONS: Final = SubmissionOptions()

_KEY: Final = b"key="
_CURSOR: Final = b"cursor="


def key_of(own: bytes) -> bytes:
    """The key among a job's own pairs; empty: it has none."""
    if own.startswith(_KEY) and b"\0" not in own:
        return own[len(_KEY) :]  # nearly always it is the only one
    return next((pair[len(_KEY) :] for pair in own.split(b"\0") if pair.startswith(_KEY)), b"")


def joined(pairs: bytes, others: bytes) -> bytes:
    """These pairs and behind them the others; either may be none."""
    return pairs + b"\0" + others if pairs and others else pairs or others


def with_cursor(pairs: bytes, cursor: bytes | None) -> bytes:
    """The pairs, and after them the cursor of the job's last checkpoint, if there is one. Clients can't give it."""
    if not cursor:
        return pairs
    return b"%s\0%s%s" % (pairs, _CURSOR, cursor) if pairs else _CURSOR + cursor


def cut_cursor(pairs: bytes) -> tuple[bytes, bytes | None]:
    """What `with_cursor` has put together."""
    if pairs.startswith(_CURSOR):
        return b"", pairs[len(_CURSOR) :]
    start, is_there, cursor = pairs.partition(b"\0" + _CURSOR)
    return start, cursor if is_there else None
