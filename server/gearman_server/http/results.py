"""`GET /jobs/HANDLE` on the metrics port: a background job's state and result, as JSON or as the bare result. Pure.

Read-only, and only for results that are kept (`keep_result`); a peer that may connect may ask for any handle.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs

from gearman_client.packet import RESPONSE_MAGIC, PacketParser, PacketType
from gearman_server.jobs.job import JobState
from gearman_server.jobs.kept_results import Ending

if TYPE_CHECKING:
    from gearman_server.jobs.functions import UnreadRows
    from gearman_server.jobs.job import Job
    from gearman_server.jobs.kept_results import KeptResult, Looked
    from gearman_server.jobs.result_keeping import ResultKeeping

PREFIX: Final = "/jobs/"
_JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"
_TEXT: Final = "text/plain; charset=utf-8"
_STATES: Final = {
    JobState.QUEUED: "waiting",
    JobState.HELD: "waiting",
    JobState.DELAYED: "delayed",
    JobState.RUNNING: "running",
    JobState.STOPPING: "running",
}
_REPORTS: Final = {int(PacketType.WORK_DATA): "data", int(PacketType.WORK_WARNING): "warning"}
_UNKNOWN: Final = b"no result of such a job is kept: there was no such job, or it is long over\n"
_EXPIRED: Final = b"this job's result has expired: its time is over, or newer results needed the room\n"
_NOT_KEPT: Final = b"this job's result will not be kept: its function has no keep_result, or it is a foreground job\n"
_UNREAD: Final = b"stored jobs are still being read, and this may be one of them\n"


class JobPage(NamedTuple):
    """An answer without its framing."""

    status: int
    body: bytes
    content_type: str = _TEXT


def handle_of(path: str) -> bytes:
    """The handle in a path, which is WSGI's: each character stands for a byte."""
    return path.removeprefix(PREFIX).encode("latin-1", "replace")


def page_of(results: ResultKeeping, unread: UnreadRows, path: str, query: str, accept: str) -> JobPage:
    """The answer to `GET /jobs/HANDLE`."""
    handle = handle_of(path)
    job = results.unfinished(handle)
    if job is not None:
        if job.keep_result_s is None or not job.is_background:
            return JobPage(404, _NOT_KEPT)
        return JobPage(202, _encoded(_unfinished(job)), _JSON)
    result = results.kept.get(handle)
    if result is not None:
        return _page_of_result(result, query, accept)
    if results.kept.has_expired(handle):
        return JobPage(410, _EXPIRED)
    if unread.is_reading:
        return JobPage(503, _UNREAD)
    return JobPage(404, _UNKNOWN)


def page_of_looked(handle: bytes, looked: Looked | None, query: str, accept: str) -> JobPage:
    """The same for a job of another server of the cluster, of which the store has that."""
    if looked is None:
        return JobPage(404, _UNKNOWN)
    if looked.result is not None:
        return _page_of_result(looked.result, query, accept)
    return JobPage(202, _encoded({"handle": _text(handle), "state": _text(looked.state)}), _JSON)


def _page_of_result(result: KeptResult, query: str, accept: str) -> JobPage:
    is_raw = "raw" in parse_qs(query, keep_blank_values=True) or _wants_bytes(accept)
    return _raw(result) if is_raw else JobPage(200, _encoded(_finished(result)), _JSON)


def _wants_bytes(accept: str) -> bool:
    kinds = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    return _BYTES in kinds and _JSON not in kinds


def _raw(result: KeptResult) -> JobPage:
    if result.ending is Ending.COMPLETE:
        return JobPage(200, result.content, _BYTES)
    if result.ending is Ending.TOO_LARGE:
        return JobPage(410, b"the job is complete, and its result was too large to be kept\n")
    return JobPage(410, b"the job has failed: " + (result.content or b"no reason was given") + b"\n")


def _unfinished(job: Job) -> dict[str, Any]:
    return {
        "handle": _text(job.handle),
        "function": _text(job.function.name),
        "state": _STATES[job.state],
        "progress": _progress(*(job.rare.progress or (b"0", b"0"))),
    }


def _finished(result: KeptResult) -> dict[str, Any]:
    told: dict[str, Any] = {
        "handle": _text(result.handle),
        "function": _text(result.function),
        "state": _text(result.ending.value),
        "progress": _progress(result.numerator, result.denominator),
        "ended_at": round(result.ended_at, 3),
        "expires_at": round(result.expires_at, 3),
        "reports": _reports(result.reports),
        "lost_bytes": result.lost_bytes,
    }
    return told | _content("result" if result.ending is Ending.COMPLETE else "reason", result.content)


def _reports(packets: bytes) -> list[dict[str, str]]:
    parsed = PacketParser(RESPONSE_MAGIC).feed(packets)
    return [{"kind": _REPORTS[kind]} | _content("text", body.partition(b"\0")[2]) for kind, body in parsed]


def _content(name: str, content: bytes) -> dict[str, str]:
    """The content as text, or else in base 64 with a name that says so, because JSON has no bytes."""
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def _progress(numerator: bytes, denominator: bytes) -> dict[str, str]:
    return {"numerator": _text(numerator), "denominator": _text(denominator)}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _encoded(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"
