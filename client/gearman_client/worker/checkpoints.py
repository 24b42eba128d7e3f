"""How far a job has come: its cursor, which the job server keeps, and series of items that go on from there."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from gearman_client.errors import ArgumentError
from gearman_client.extensions import MAX_CURSOR_BYTES

#: A series sends the position at most this often (seconds): a checkpoint costs some microseconds, as some items do.
EVERY_S: Final = 0.2

Item = TypeVar("Item")
#: The items, or a function that is given the cursor (None at first) and returns those that follow it.
Items = Iterable[Item] | AsyncIterable[Item] | Callable[[Any], "Iterable[Item] | AsyncIterable[Item]"]


class Progress:
    """How far one job has come, in this attempt or an earlier one."""

    __slots__ = ("cursor", "has_series", "is_interrupted", "is_unsent")

    def __init__(self, cursor: bytes | None = None) -> None:
        #: As it is sent, or came.
        self.cursor = cursor
        self.is_unsent = False
        #: Whether the job was interrupted, because its worker has to leave.
        self.is_interrupted = False
        self.has_series = False


class Checkpointed(Protocol):
    """A job, as its series of items sees it."""

    @property
    def cursor(self) -> Any: ...
    def begin_series(self) -> None: ...
    def note_cursor(self, cursor: Any) -> None: ...
    def send_cursor(self) -> None: ...
    def give_way(self) -> None: ...


class Series(Generic[Item]):
    """The items of a job from its cursor on, for `for` and `async for`.

    After each item the cursor is noted: the number of items so far, or what `cursor` makes of the item. It is sent at
    most every `every_s` seconds, before the job fails, and before it gives way to a worker's end.
    """

    def __init__(
        self,
        job: Checkpointed,
        items: Items[Item],
        cursor: Callable[[Item], Any] | None,
        every_s: float,
        uninterrupted: AbstractContextManager[None],
    ) -> None:
        self._job = job
        self._items = items
        self._cursor_of = cursor
        self._every_s = every_s
        self._uninterrupted = uninterrupted
        self._send_at = 0.0
        self._position = 0
        job.begin_series()

    def __iter__(self) -> Iterator[Item]:
        items, skipped = self._opened()
        if not isinstance(items, Iterable):
            raise ArgumentError(f"the items are {type(items).__name__}, to be iterated with `async for`")
        rest = _behind(items, skipped)
        while True:
            self._job.give_way()  # before an item is taken: some are taken out of a queue
            try:
                item = next(rest)
            except StopIteration:
                break
            yield item
            self._note(item)
        self._send()

    async def __aiter__(self) -> AsyncIterator[Item]:
        items, skipped = self._opened()
        rest = _async_behind(items, skipped)
        while True:
            self._job.give_way()
            try:
                item = await anext(rest)
            except StopAsyncIteration:
                break
            yield item
            self._note(item)
        self._send()

    def _opened(self) -> tuple[Iterable[Item] | AsyncIterable[Item], int]:
        """The items, and the number of those that are done."""
        cursor = self._job.cursor
        if self._cursor_of is None:
            self._position = _position(cursor)
        if callable(self._items):
            return self._items(cursor), 0
        return self._items, self._position

    def _note(self, item: Item) -> None:
        self._position += 1
        self._job.note_cursor(self._position if self._cursor_of is None else self._cursor_of(item))
        now = monotonic()
        if now >= self._send_at:
            self._send_at = now + self._every_s
            self._send()

    def _send(self) -> None:
        with self._uninterrupted:
            self._job.send_cursor()


def encode_cursor(cursor: Any) -> bytes:
    """A cursor as JSON.

    Raises:
        ArgumentError: JSON has no form for it, or it is too long.
    """
    if type(cursor) is int:
        return b"%d" % cursor
    import json  # here: not every worker needs it

    try:
        encoded = json.dumps(cursor, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"a cursor is a value that JSON can hold, not {type(cursor).__name__}: {error}") from None
    if len(encoded) > MAX_CURSOR_BYTES:
        raise ArgumentError(
            f"the cursor has {len(encoded)} bytes as JSON, at most {MAX_CURSOR_BYTES} are allowed: keep the place from "
            "which to go on, and what was done elsewhere"
        )
    return encoded


def decode_cursor(encoded: bytes) -> Any:
    """The cursor of an earlier attempt; as text if a worker in another language has sent something else than JSON."""
    import json  # as above

    try:
        return json.loads(encoded)
    except ValueError:
        return encoded.decode(errors="replace")


def _position(cursor: Any) -> int:
    if cursor is None:
        return 0
    if type(cursor) is not int or cursor < 0:
        raise ArgumentError(
            f"the job's cursor is {cursor!r:.60}, and no number of items: give iterate the function `cursor` that "
            "makes such a cursor of an item"
        )
    return cursor


def _behind(items: Iterable[Item], skipped: int) -> Iterator[Item]:
    if isinstance(items, Sequence):
        return (items[at] for at in range(skipped, len(items)))
    return islice(items, skipped, None)


async def _async_behind(items: Iterable[Item] | AsyncIterable[Item], skipped: int) -> AsyncIterator[Item]:
    if isinstance(items, Iterable):
        for item in _behind(items, skipped):
            yield item
        return
    async for item in items:
        if skipped:
            skipped -= 1
            continue
        yield item
