"""`gearman --json`: one object for each job, on a line of its own, when the job has ended."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from time import monotonic
from typing import Any, Final

from gearman_client.client.job_status import JobHandle
from gearman_client.commands.job_report import state_of
from gearman_client.commands.streams import STDOUT, write_all
from gearman_client.errors import JobException
from gearman_client.packet import DEFAULT_MAX_BODY_BYTES

_NAMES: Final = ("function", "handle", "server", "unique")


class JsonOutput:
    """Writes the objects whole, because several functions may answer at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def job(self, function: str, unique: str | None = None, handle: str | None = None) -> JsonJob:
        """The part of one job."""
        return JsonJob(self, {"function": function or None, "handle": handle, "server": None, "unique": unique})

    def write(self, document: dict[str, Any]) -> None:
        """Write one line."""
        with self._lock:
            write_all(STDOUT, json_line(document))

    def close(self) -> None:
        """All has been written already."""


class JsonJob:
    """Collects what happens to one job."""

    def __init__(self, output: JsonOutput, names: dict[str, Any]) -> None:
        self._output = output
        self._began = monotonic()
        self._ended: float | None = None
        self._bytes = 0
        self._document: dict[str, Any] = {
            **names,
            **{name: None for name in _NAMES if name not in names},
            "state": None,
            "result": None,
            "failure": None,
            "data": [],
            "warnings": [],
            "progress": None,
        }

    def created(self, handle: JobHandle) -> None:
        """Note the handle and its server; another attempt sends its data anew."""
        self._document |= {"handle": str(handle), "server": str(handle.server), "data": [], "warnings": []}
        self._bytes = 0

    def data(self, data: bytes) -> None:
        """Note a piece of the result."""
        self._collect("data", data)

    def warning(self, data: bytes) -> None:
        """Note a warning."""
        self._collect("warnings", data)

    def status(self, numerator: int, denominator: int) -> None:
        """Note the progress; the last one counts."""
        self._document["progress"] = [numerator, denominator]

    def ended(self) -> None:
        """Note the time of the end, if the object has to wait for its turn."""
        self._ended = monotonic()

    def complete(self, result: bytes) -> None:
        """Write the object."""
        self._end("complete", result=bytes_value(result))

    def accepted(self) -> None:
        """Write the object of a background job."""
        self._end("accepted")

    def failed(self, error: Exception) -> None:
        """Write the object, with the reason."""
        failure = bytes_value(error.data) if isinstance(error, JobException) else str(error)
        self._end(state_of(error), failure=failure)

    def _collect(self, key: str, data: bytes) -> None:
        """Add a piece, as long as all pieces together are no larger than a result may be."""
        self._bytes += len(data)
        if self._bytes > DEFAULT_MAX_BODY_BYTES:
            self._document["truncated"] = True
        else:
            self._document[key].append(bytes_value(data))

    def _end(self, state: str, **values: Any) -> None:
        seconds = (self._ended or monotonic()) - self._began
        self._document |= {"state": state, "seconds": round(seconds, 6), **values}
        self._output.write(self._document)


def bytes_value(data: bytes) -> Any:
    """Bytes in JSON: as text where they are UTF-8, else as `{"base64": "…"}`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode("ascii")}


def json_line(document: Any) -> bytes:
    """One object on one line. What would act on a terminal is escaped, and so are bytes of names that are no UTF-8."""
    text = json.dumps(document, ensure_ascii=False)
    return (text if text.isprintable() else json.dumps(document)).encode("utf-8") + b"\n"
