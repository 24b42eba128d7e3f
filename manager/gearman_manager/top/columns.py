"""The columns of pools and of workers: what they show, how they order the rows, and which of them fit. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gearman_manager.live.urgency import POOL_STATES, WORKER_STATES
from gearman_manager.top.wording import short, short_size, shown
from gearman_process.values.durations import rough_duration

Row = Mapping[str, Any]
#: Cells between two columns, and before the first one, where the mark of the chosen row is.
GAP: Final = 1
MARGIN: Final = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    title: str
    #: In cells; of the column that takes what is left, the least.
    width: int
    text: Callable[[Row], str]
    #: The order of rows by this column.
    key: Callable[[Row], Any]
    is_right: bool = True
    #: Whether the highest comes first, as for numbers.
    is_falling: bool = True
    #: It is there on terminals that are at least so wide.
    from_width: int = 0
    takes_the_rest: bool = False


def _number(name: str, title: str, width: int, **options: Any) -> Column:
    return Column(title, width, lambda row: short(row[name]), lambda row: row[name] or 0, **options)


def _name(row: Row) -> tuple[str, int, str]:
    """`email/2` comes before `email/10`."""
    pool, _, number = row["name"].rpartition("/")
    return pool, int(number) if number.isdecimal() and len(number) < 10 else 0, row["name"]


def _rank(states: Sequence[str], state: str) -> int:
    return states.index(state) if state in states else len(states)


def _words(name: str, title: str, width: int, **options: Any) -> Column:
    def text(row: Row) -> str:
        return shown(row[name] or "-")

    return Column(title, width, text, lambda row: row[name] or "", is_right=False, is_falling=False, **options)


_POOL_STATE: Final = Column(
    "STATE",
    11,
    lambda row: row["state"],
    lambda row: (_rank(POOL_STATES, row["state"]), -row["waiting"]),
    is_right=False,
    is_falling=False,
)
_WORKER_STATE: Final = Column(
    "STATE",
    8,
    lambda row: row["state"],
    lambda row: _rank(WORKER_STATES, row["state"]),
    is_right=False,
    is_falling=False,
)
_NAME: Final = Column("NAME", 12, lambda row: shown(row["name"]), _name, is_right=False, is_falling=False)
POOLS: Final = (
    Column("POOL", 12, _NAME.text, _name, is_right=False, is_falling=False, takes_the_rest=True),
    _POOL_STATE,
    Column("SIZE", 7, lambda row: f"{row['min']}..{row['max']}", lambda row: row["max"], from_width=90),
    _number("idle", "IDLE", 5),
    _number("busy", "BUSY", 5),
    _number("starting", "START", 5),
    _number("queued", "QUEUE", 5),
    _number("waiting", "WAIT", 5),
    _number("done", "DONE", 5),
    _number("done_per_minute", "/MIN", 5, from_width=100),
    _number("failed", "FAIL", 5),
    Column("MEM", 5, lambda row: short_size(row["memory_bytes"]), lambda row: row["memory_bytes"]),
    _words("why", "WHY", 40, from_width=130, takes_the_rest=True),
)
WORKERS: Final = (
    Column("WORKER", 10, _NAME.text, _name, is_right=False, is_falling=False, takes_the_rest=True),
    Column("PID", 7, lambda row: str(row["pid"] or "-"), lambda row: row["pid"] or 0),
    _WORKER_STATE,
    _words("function", "FUNCTION", 12, takes_the_rest=True),
    Column("FOR", 5, lambda row: lasting(row["for_s"]), lambda row: row["for_s"] or 0),
    _number("done", "DONE", 5),
    _number("failed", "FAIL", 5),
    Column("MEM", 5, lambda row: short_size(row["memory_bytes"]), lambda row: row["memory_bytes"] or 0),
    Column("CPU", 5, lambda row: lasting(row["cpu_s"]), lambda row: row["cpu_s"] or 0),
    Column("AGE", 5, lambda row: lasting(row["age_s"]), lambda row: row["age_s"]),
    _words("handle", "HANDLE", 24, from_width=110, takes_the_rest=True),
)


def lasting(seconds: float | None) -> str:
    """A duration; a dash if there is none."""
    return "-" if seconds is None else rough_duration(max(0.0, seconds))


def pool_row(pool: Row, workers: Iterable[Row]) -> Row:
    """A pool with the numbers of its workers in each state."""
    states = Counter(worker["state"] for worker in workers)
    return {
        **pool,
        "idle": states["idle"],
        "busy": states["busy"],
        "starting": states["starting"] + states["ordered"],
        "leaving": states["draining"] + states["stopping"],
    }


def worker_row(worker: Row, now: float) -> Row:
    """A worker with the time for which it has run its job and has lived; `now` is in seconds since 1970."""
    since = worker["since"]
    return {**worker, "for_s": None if since is None else now - since, "age_s": now - worker["started"]}


def fitting(columns: Sequence[Column], width: int) -> list[tuple[Column, int]]:
    """The columns that a terminal of this width has, with their widths. If it is too narrow the last ones are cut."""
    chosen = [column for column in columns if width >= column.from_width]
    left = width - MARGIN - sum(column.width + GAP for column in chosen)
    greedy = [column for column in chosen if column.takes_the_rest]
    # The longest texts are in the last of them: it gets the greater part.
    shares = {id(column): left // (2 ** len(greedy) - 1) * 2**place for place, column in enumerate(greedy)}
    return [(column, column.width + max(0, shares.get(id(column), 0))) for column in chosen]


def matches(row: Row, words: Sequence[str]) -> bool:
    """Whether each of the words is in its name, its state, a function or a handle. They are in lower case."""
    texts = [row["name"], row["state"], *(row.get("functions") or ()), row.get("function"), row.get("handle")]
    whole = "\n".join(text for text in texts if text).lower()
    return all(word in whole for word in words)


def arranged(rows: Iterable[Row], wanted: str, column: Column, *, is_turned: bool) -> list[Row]:
    """The rows that have all of the wanted words, in the order of a column, or the other way round."""
    words = wanted.lower().split()
    chosen = sorted((row for row in rows if matches(row, words)), key=_name)
    chosen.sort(key=column.key, reverse=column.is_falling != is_turned)
    return chosen
