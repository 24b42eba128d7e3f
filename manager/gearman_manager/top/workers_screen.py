"""The workers of a pool, and what can be done to each."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType

from gearman_manager.top import actions
from gearman_manager.top.columns import WORKERS, Row, lasting, worker_row
from gearman_manager.top.desk import Desk
from gearman_manager.top.list_screen import ListScreen
from gearman_manager.top.wording import short_size, shown
from gearman_process.values.counting import counted

#: Run times are drawn so often, and memory and processor time are asked for: these are no events.
DRAW_S: Final = 1.0
FIGURES_S: Final = 5.0
#: An answer of a manager with many workers takes longer: it may take this part of its time.
SHARE: Final = 0.02


class WorkersScreen(ListScreen):
    """A pool's workers; those that leave or come are first, then those that run jobs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "replace", show=False),
        Binding("x", "stop_job", show=False),
        Binding("backspace", "leave", show=False),
    ]
    KEYS = "? help  q quit  Esc back  / filter  r replace worker  x stop its job  l log  t troubles  <> sort"

    def __init__(self, desk: Desk, pool: str) -> None:
        super().__init__(desk, WORKERS, WORKERS[2])
        self._pool = pool
        self._asked_at: float | None = None
        self._ask_at = 0.0

    def on_mount(self) -> None:
        """Draw now, and every second."""
        super().on_mount()
        self.set_interval(DRAW_S, self._tick)

    def rows(self) -> Iterable[Row]:
        """The workers as they are now."""
        now = time.time()
        return [worker_row(worker, now) for worker in self._desk.model.workers.get(self._pool, {}).values()]

    def heading(self) -> str:
        """What the title says of the pool."""
        pool = self._desk.model.pools.get(self._pool)
        name = shown(self._pool, 40)
        if pool is None:
            return f"pool {name} is no more"
        workers = f"{pool['ready']} of {counted(pool['target'], 'worker')}"
        return f"pool {name} {pool['state']}, {workers}, {pool['busy']} busy"

    def empty(self) -> str:
        """Why there may be none."""
        return super().empty() or "there is no worker; Esc: back to the pools"

    def detail(self, row: Row) -> Text:
        """The worker in words."""
        text = Text.assemble((shown(row["name"], 60), "bold"), f": pid {row['pid'] or '-'}, {row['state']}")
        text.append(f", {lasting(row['age_s'])} old, {short_size(row['memory_bytes'])}")
        if row["handle"]:
            text.append(f"\n{shown(row['function'])} {shown(row['handle'])} for {lasting(row['for_s'])}")
        if row["jobs"] > 1:
            text.append(f"\nand {counted(row['jobs'] - 1, 'more job')}")
        return text

    def leave(self) -> None:
        """Go back to the pools."""
        self.app.pop_screen()

    # --- keys

    def action_leave(self) -> None:
        """Go back to the pools."""
        self.leave()

    def action_replace(self) -> None:
        """Replace the worker."""
        if (row := self.table.chosen) is not None:
            self.act(actions.replace_worker(row["name"]))

    def action_stop_job(self) -> None:
        """Stop the worker's job."""
        row = self.table.chosen
        if row is None or not row["handle"]:
            self._desk.say("there is no job to stop: this worker runs none", is_bad=True)
            self.draw()
        else:
            self.act(actions.stop_job(row["name"], row["function"] or "", row["handle"]))

    # --- what changes all the time

    def _tick(self) -> None:
        if not self.is_current or self._desk.gone:
            return
        self.draw()
        now = time.monotonic()
        if self._asked_at is None and now >= self._ask_at:
            self._asked_at = now
            self._desk.ask("/overview", self._answered, self._refused)

    def _answered(self, overview: dict[str, Any]) -> None:
        self._desk.model.refresh(self._pool, overview)
        self._ask_later()

    def _refused(self, _reason: str) -> None:
        self._ask_later()

    def _ask_later(self) -> None:
        now = time.monotonic()
        took_s = now - (self._asked_at or now)
        self._asked_at, self._ask_at = None, now + max(FIGURES_S, took_s / SHARE)
