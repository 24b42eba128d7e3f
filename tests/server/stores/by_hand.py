"""An event loop, a writer and threads for a store, all of which act only when the test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NoReturn, cast

from gearman_server.errors import StoreError
from gearman_server.stores.database import Database
from gearman_server.stores.sql_store import SqlStore
from gearman_server.stores.writer import WriteOrder, WriteOutcome
from gearman_server.thread import Delivery


class HandTimer:
    """A timer whose callback the test calls."""

    def __init__(self) -> None:
        self._callback: Callable[[], object] | None = None

    @property
    def active(self) -> bool:
        return self._callback is not None

    def start(self, callback: Callable[..., object], *arguments: object) -> None:
        self._callback = lambda: callback(*arguments)

    again = start

    def stop(self) -> None:
        self._callback = None

    def close(self) -> None:
        self.stop()

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()

    def fire_once(self) -> None:
        callback = self._callback
        self.stop()
        if callback is not None:
            callback()


class HandLoop:
    """Gives the store its timers, and keeps them in the order in which the store makes them."""

    def __init__(self) -> None:
        self.timers: list[HandTimer] = []

    def prepare(self) -> NoReturn:
        raise NotImplementedError("the broker tells the store of the end of a pass")

    def timer(self, *_seconds: float) -> HandTimer:
        self.timers.append(HandTimer())
        return self.timers[-1]

    def io(self, *_arguments: object) -> NoReturn:
        raise NotImplementedError("a store watches no descriptor")

    def signal(self, *_arguments: object) -> NoReturn:
        raise NotImplementedError("a store watches no signal")

    def async_(self) -> NoReturn:
        raise NotImplementedError("the writer and the threads are by hand too")


class HandWriter:
    """Keeps the batches that it is given; the test says when each is written, and with which outcome."""

    def __init__(self, database: Database, _loop: HandLoop, report: Callable[[WriteOutcome], None]) -> None:
        self._database, self._report = database, report
        self.orders: list[WriteOrder] = []

    @property
    def is_busy(self) -> bool:
        return bool(self.orders)

    def write(self, order: WriteOrder) -> None:
        assert len(self.orders) < 2, "nothing is without a bound"
        self.orders.append(order)

    def end(self, how: str) -> None:
        order = self.orders.pop(0)
        if how != "fails":
            refused = self._database.write(order.batch, is_repeated=False)
            assert refused == [], "a row was written twice"
        failure = None if how == "succeeds" else StoreError("no space left", is_unknown=how == "is lost")
        self._report(WriteOutcome(failure=failure))

    def stop(self, _patience_s: float) -> bool:
        return True


def writer_of(store: SqlStore) -> HandWriter:
    """The writer by hand with which a store was started."""
    return cast(HandWriter, store._writer)


class HandThread:
    """One of `HandThreads`."""

    def __init__(self, calls: deque[tuple[HandThread, Callable[[], Delivery]]]) -> None:
        self._calls = calls
        self.is_busy = False

    def run(self, call: Callable[[], Delivery]) -> None:
        assert not self.is_busy
        self.is_busy = True
        self._calls.append((self, call))

    def stop(self, _patience_s: float) -> bool:
        return not self.is_busy


class HandThreads:
    """The threads of `Loading`: `run_all` carries out their calls in the order in which they came."""

    def __init__(self) -> None:
        self._calls: deque[tuple[HandThread, Callable[[], Delivery]]] = deque()

    def make(self, _loop: HandLoop) -> HandThread:
        return HandThread(self._calls)

    def run_all(self) -> None:
        while self._calls:
            thread, call = self._calls.popleft()
            deliver = call()
            thread.is_busy = False
            deliver()
