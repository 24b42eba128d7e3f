"""Writes families of metrics as text, in Prometheus' format 0.0.4 or in OpenMetrics'. Pure.

prometheus_client writes the same, but takes three to five microseconds for each sample: with 200 pools that would be
more than the supervisor may spend on a scrape. Here a row's labels are written once for all of its families.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final, Generic, Protocol, TypeVar

Value = int | float
#: Texts of labels that are kept for the next row, or the next scrape.
_LABELS_KEPT: Final = 4096


class Row(Protocol):
    """Something that has a sample in each of several families."""

    @property
    def labels(self) -> str:
        """Its labels as the text has them between the braces; empty if it has none."""


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Family(Generic[R]):
    """One metric of all rows: `name` is without the suffix `_total`, `kind` is `gauge` or `counter`."""

    name: str
    kind: str
    help_text: str
    value: Callable[[R], Value | None]  #: None: this row has no sample


@dataclass(frozen=True, slots=True)
class LabelledFamily(Generic[R]):
    """The same with a further label, and a sample for each of its values."""

    name: str
    kind: str
    help_text: str
    label: str
    values: Callable[[R], Iterable[tuple[str, Value]]]


@dataclass(frozen=True, slots=True)
class HistogramFamily(Generic[R]):
    """A histogram: the upper bounds of the buckets; by row, the counts (one more, for what is above) and the sum."""

    name: str
    help_text: str
    bounds: Sequence[float]
    counts: Callable[[R], tuple[Sequence[int], float]]
    kind: str = "histogram"


AnyFamily = Family[R] | LabelledFamily[R] | HistogramFamily[R]


@lru_cache(_LABELS_KEPT)
def label(name: str, value: str) -> str:
    """A label as the text has it."""
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{escaped}"'


def exposed(family: AnyFamily[R], rows: Iterable[R], *, is_openmetrics: bool) -> bytes:
    """The text of a family with its rows."""
    sampled = family.name + ("_total" if family.kind == "counter" else "")
    named = family.name if is_openmetrics else sampled
    help_text = family.help_text.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {named} {help_text}\n# TYPE {named} {family.kind}\n"]
    if isinstance(family, HistogramFamily):
        lines += (_histogram(family, row) for row in rows)
    elif isinstance(family, LabelledFamily):
        for row in rows:
            before = f"{sampled}{{{row.labels}{',' if row.labels else ''}"
            lines += [f"{before}{label(family.label, name)}}} {value}\n" for name, value in family.values(row)]
    else:
        sample = family.value
        for row in rows:
            value = sample(row)
            if value is not None:
                lines.append(f"{sampled}{{{row.labels}}} {value}\n" if row.labels else f"{sampled} {value}\n")
    return "".join(lines).encode()


def _histogram(family: HistogramFamily[R], row: R) -> str:
    counts, total = family.counts(row)
    name, labels = family.name, row.labels
    sums = list(accumulate(counts))
    bounds = [*map(str, family.bounds), "+Inf"]
    buckets = [f'{name}_bucket{{{labels},le="{bound}"}} {count}\n' for bound, count in zip(bounds, sums, strict=True)]
    return "".join([*buckets, f"{name}_count{{{labels}}} {sums[-1]}\n{name}_sum{{{labels}}} {total}\n"])
