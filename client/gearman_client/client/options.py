"""The keyword arguments of clients and of their calls, checked. Pure.

They are typed dictionaries because every client takes the same ones: `Client(servers, **options)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypedDict

from gearman_client.arguments import check_options, to_count, to_limit, to_optional_seconds
from gearman_client.client.codec import BYTES, Codec
from gearman_client.client.foreground import JobCallbacks
from gearman_client.client.job_options import JobRetries
from gearman_client.client.submission import CommonOptions, SubmissionOptions, SubmissionSettings
from gearman_client.errors import ArgumentError
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES
from gearman_client.text import to_argument
from gearman_client.tls import Tls

CONNECT_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 30.0
#: The largest body that a packet's header can announce.
_MOST_BYTES: Final = 2**32 - 1


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of a client. Every time is a number of seconds or a timedelta.

    timeout_s: how long a call waits by default; None: for a result for ever.
    connect_timeout_s: the limit for one server to accept a connection and to answer the first question (5).
    reply_timeout_s: the limit for the server's own answers: a job accepted, a status (30).
    exceptions: ask for the data of WORK_EXCEPTION; without it such jobs just fail (True).
    tls: for servers that speak TLS; an `Address` may have its own.
    namespace: put before the name of every function; workers that should get the jobs do the same.
    max_workload_bytes: the most bytes of a workload (256 MiB).
    discover: use the other servers of a cluster too, of which the given ones tell (True). It needs `exceptions`.
    """

    timeout_s: timedelta | float | None
    connect_timeout_s: timedelta | float
    reply_timeout_s: timedelta | float
    exceptions: bool
    tls: Tls | None
    namespace: str
    max_workload_bytes: int
    discover: bool


class ForegroundOptions(SubmissionOptions, JobRetries, JobCallbacks, total=False):
    """The keyword arguments of a job whose result is awaited.

    timeout_s: the limit of the whole call, in seconds or as a timedelta.
    resubmit: submit the job again, to another server if there is one, when its server was lost (True). It may then run
        twice.
    """

    timeout_s: timedelta | float | None
    resubmit: bool


class BackgroundOptions(SubmissionOptions, JobRetries, total=False):
    """The keyword arguments of a job that is left with the server.

    timeout_s: the limit of the whole call, in seconds or as a timedelta.
    """

    timeout_s: timedelta | float | None


class FollowUpOptions(CommonOptions, JobRetries, total=False):
    """The keyword arguments of a `FollowUp`."""


class ManyOptions(CommonOptions, JobRetries, total=False):
    """The keyword arguments of many jobs that are left with the server.

    timeout_s: the limit of the whole call, in seconds or as a timedelta.
    """

    timeout_s: timedelta | float | None


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Checked options of a client, in seconds."""

    timeout_s: float | None
    connect_timeout_s: float
    reply_timeout_s: float
    exceptions: bool
    tls: Tls | None
    submissions: SubmissionSettings
    discover: bool

    @property
    def bounds(self) -> tuple[float, float, bool]:
        """The first values of `OpeningSettings`."""
        return self.connect_timeout_s, self.reply_timeout_s, self.exceptions


def client_settings(caller: str, codec: Codec[Any, Any] | None, options: ClientOptions) -> ClientSettings:
    """The settings of a client; `caller` is its name in error messages.

    Raises:
        ArgumentError: a time or another value is none.
        TypeError: there is no such option.
    """
    check_options(caller, options, ClientOptions.__annotations__, ("servers", "codec"))
    namespace = options.get("namespace", "")
    to_argument(namespace, "namespace")
    limit = to_count(options.get("max_workload_bytes", DEFAULT_MAX_BODY_BYTES), "max_workload_bytes", _MOST_BYTES)
    if codec is not None and not (hasattr(codec, "encode") and hasattr(codec, "decode")):
        raise ArgumentError(f"codec {codec!r}: expected an object with the methods encode and decode, as JsonCodec()")
    return ClientSettings(
        to_optional_seconds(options.get("timeout_s"), "timeout_s"),
        to_limit(options.get("connect_timeout_s", CONNECT_TIMEOUT_S), "connect_timeout_s"),
        to_limit(options.get("reply_timeout_s", REPLY_TIMEOUT_S), "reply_timeout_s"),
        bool(options.get("exceptions", True)),
        options.get("tls"),
        SubmissionSettings(BYTES if codec is None else codec, namespace, limit),
        bool(options.get("discover", True)),
    )
