"""The form in which one scraper wants the metrics: the format, a bound on the functions, and a label of its choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gearman_process.http.messages import HttpRefusal, HttpRequest

#: Instead of the names of the functions beyond the bound.
OTHER: Final = "other"
_MOST_FUNCTIONS: Final = 100_000
_LONGEST_LABEL: Final = 200
_END: Final = b"# EOF\n"


class Collected(Protocol):
    """Something that has metrics."""

    def collect(self) -> Any:
        """Its metrics, one after the other."""


@dataclass(frozen=True, slots=True)
class MetricsPage:
    """A page as its scraper wants it."""

    content_type: str = CONTENT_TYPE_LATEST
    encode: Callable[[Any], bytes] = generate_latest
    most_functions: int | None = None  #: with series of their own; None: all
    server: str | None = None  #: the value of the label `server` that each sample gets; None: no such label

    @classmethod
    def of(cls, request: HttpRequest) -> MetricsPage:
        """The page for a request: its format by the header Accept, the rest by the parameters `functions` and `server`.

        Raises:
            HttpRefusal: a parameter makes no sense.
        """
        accept = ", ".join(value for name, value in request.headers if name == "accept")
        encode, content_type = choose_encoder(accept)
        given = dict(parse_qsl(request.query, keep_blank_values=True))
        if len(server := given.get("server", "")) > _LONGEST_LABEL:
            raise HttpRefusal(400, f"server: it may have at most {_LONGEST_LABEL} characters")
        most = None
        if "functions" in given:
            text = given["functions"]
            most = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
            if not 0 < most <= _MOST_FUNCTIONS:
                raise HttpRefusal(400, f"functions: a number from 1 to {_MOST_FUNCTIONS} is expected")
        return cls(content_type, encode, most, server or None)

    @property
    def end(self) -> bytes:
        """What the page ends with."""
        return _END if self.content_type.startswith("application/openmetrics-text") else b""

    def text(self, what: Collected, *, has_head: bool = True) -> bytes:
        """The text of metrics. Of a family that goes on, the first part alone has help and type."""
        text = self.encode(what if self.server is None else _Labelled(what, self.server)).removesuffix(_END)
        while not has_head and text.startswith(b"# "):
            text = text.partition(b"\n")[2]
        return text


class Only(Collector):
    """Collects one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        """The metric."""
        yield self._metric


class _Labelled(Collector):
    """The same metrics with one more label."""

    def __init__(self, inner: Collected, server: str) -> None:
        self._inner = inner
        self._server = server

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            for sample in metric.samples:
                sample.labels["server"] = self._server
            yield metric


class Others:
    """Joins the samples of many functions to those of one, `other`."""

    def __init__(self, together: Callable[[float, float], float]) -> None:
        """`together` makes one value of two."""
        self._together = together
        self._samples: dict[tuple[str, ...], Sample] = {}

    def add(self, metric: Metric) -> None:
        """Take in the samples of some functions."""
        for sample in metric.samples:
            sample.labels["function"] = OTHER
            key = (sample.name, *sample.labels.values())
            before = self._samples.get(key)
            if before is not None:
                value = self._together(before.value, sample.value)
                sample = sample._replace(value=value, exemplar=sample.exemplar or before.exemplar)
            self._samples[key] = sample

    def into(self, metric: Metric) -> Metric:
        """The metric, with the joined samples alone."""
        # Those of one histogram stay together: a priority may have come later than others.
        metric.samples = sorted(self._samples.values(), key=lambda sample: sample.labels.get("priority", ""))
        return metric
