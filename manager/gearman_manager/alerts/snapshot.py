"""What one look at the manager sees. Pure. Times are monotonic seconds unless they say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool. `failed` and `ended` count jobs since the manager began; a program's jobs are not known."""

    functions: Sequence[str] = ()
    is_crashing: bool = False  #: its workers die, so that the next one waits
    has_workers: bool = True  #: any that are registered
    last_error: str = ""
    ended: int = 0
    failed: int = 0
    job_error: str = ""  #: of a job that failed, as the workers report it


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function's queue over all job servers."""

    waiting: int = 0  #: all jobs that wait, delayed and held ones too
    startable: int = 0
    running: int = 0
    is_paused: bool = False
    oldest: tuple[float, str] | None = None  #: since when the oldest job waits, and its handle, as far as servers tell


@dataclass(frozen=True, slots=True)
class ServerView:
    """A job server."""

    is_answering: bool | None = None  #: None: not known yet
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another manager."""

    is_answering: bool | None = None  #: None: not known yet
    error: str = ""  #: why it does not


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A background job that has failed for good."""

    handle: str
    function: str
    died: float  #: Unix seconds
    error: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the rules look at."""

    now: float
    unix_now: float
    pools: Mapping[str, PoolView] = field(default_factory=dict)
    functions: Mapping[str, FunctionView] = field(default_factory=dict)
    servers: Mapping[str, ServerView] = field(default_factory=dict)
    peers: Mapping[str, PeerView] = field(default_factory=dict)
    letters: Sequence[DeadLetter] = ()  #: of the last hour at least
    pages: str = ""  #: the address of the pages, with a slash at its end; empty: there are none
