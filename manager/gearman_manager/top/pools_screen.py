"""The first screen: all pools, and what can be done to them and to the manager."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from rich.text import Text
from textual.binding import Binding, BindingType

from gearman_manager.top import actions
from gearman_manager.top.actions import Action, Mistake
from gearman_manager.top.columns import POOLS, Row, pool_row
from gearman_manager.top.desk import Desk
from gearman_manager.top.dialogs import AskLine
from gearman_manager.top.list_screen import ListScreen
from gearman_manager.top.wording import short, shown
from gearman_manager.top.workers_screen import WorkersScreen
from gearman_process.values.counting import counted

#: Functions that are named in the words about a pool.
MOST_FUNCTIONS: Final = 20
_NOTHING: Final = (
    "Nothing runs yet: put a module into the workers' folder. What can't be loaded is among the troubles (t)."
)


class PoolsScreen(ListScreen):
    """All pools; those that need a look come first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "scale", show=False),
        Binding("p", "pause", show=False),
        Binding("u", "resume", show=False),
        Binding("r", "restart", show=False),
        Binding("R", "restart_all", show=False),
        Binding("L", "reload", show=False),
        Binding("D", "drain", show=False),
    ]
    KEYS = "? help  q quit  Enter workers  / filter  s scale  p pause  u resume  r restart  l log  t troubles  <> sort"

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk, POOLS, POOLS[1])

    def rows(self) -> Iterable[Row]:
        """The pools with the numbers of their workers."""
        model = self._desk.model
        return (pool_row(pool, model.workers.get(name, {}).values()) for name, pool in model.pools.items())

    def heading(self) -> str:
        """What the title says of all pools."""
        pools, workers = self._desk.model.pools.values(), sum(len(each) for each in self._desk.model.workers.values())
        busy, waiting = (sum(pool[name] for pool in pools) for name in ("busy", "waiting"))
        return (
            f"{counted(len(pools), 'pool')}, {counted(workers, 'worker')}, {busy} busy, "
            f"{short(waiting)} job{'s' * (waiting != 1)} waiting"
        )

    def empty(self) -> str:
        """What to do if there is no pool."""
        return super().empty() or _NOTHING

    def detail(self, row: Row) -> Text:
        """The pool in words."""
        leaving = f", {row['leaving']} leaving" if row["leaving"] else ""
        functions = ", ".join(shown(name, 60) for name in row["functions"][:MOST_FUNCTIONS]) or "no function"
        text = Text.assemble((shown(row["name"], 60), "bold"))
        text.append(f": {row['ready']} of {row['target']} workers{leaving}, size {_size(row)}; {functions}")
        if row["held"]:
            text.append(f"; held back: {', '.join(shown(name, 60) for name in row['held'])}", "yellow")
        if row["last_error"]:
            text.append(f"\nlast error: {shown(row['last_error'])}", "red")
        if row["why"]:
            text.append(f"\nwhy: {shown(row['why'])}")
        return text

    def on_table_opened(self) -> None:
        """Show the pool's workers."""
        if (row := self.table.chosen) is not None:
            self.app.push_screen(WorkersScreen(self._desk, row["name"]))

    # --- keys

    def action_scale(self) -> None:
        """Ask for the pool's size."""
        if (row := self.table.chosen) is not None:
            question = f"How many workers for {shown(row['name'], 60)}? A number, as 4, or a range, as 2..8"
            self._ask(question, _size(row), lambda size: actions.scale(row["name"], size))

    def action_pause(self) -> None:
        """Pause the pool."""
        self._act_on_pool(actions.pause)

    def action_resume(self) -> None:
        """Let the pool go on."""
        self._act_on_pool(actions.resume)

    def action_restart(self) -> None:
        """Replace the pool's workers."""
        self._act_on_pool(actions.restart)

    def action_restart_all(self) -> None:
        """Replace all workers."""
        self.act(actions.restart(None))

    def action_reload(self) -> None:
        """Load configuration and code anew."""
        self.act(actions.reload())

    def action_drain(self) -> None:
        """Ask for the drain's time, then for a confirmation."""
        question = "Drain and end this manager. How long may running jobs take? As 5m; empty: as long as they take"
        self._ask(question, "", actions.drain)

    def _act_on_pool(self, make: Callable[[str], Action]) -> None:
        if (row := self.table.chosen) is not None:
            self.act(make(row["name"]))

    def _ask(self, question: str, proposal: str, make: Callable[[str], Action]) -> None:
        """Make an action of a line that the operator types."""

        def answered(line: str | None) -> None:
            if line is None:
                self._desk.say("nothing was done")
            else:
                try:
                    self.act(make(line))
                except Mistake as error:
                    self._desk.say(str(error), is_bad=True)
            self.draw()

        self.app.push_screen(AskLine(question, proposal), answered)


def _size(pool: Row) -> str:
    low, high = pool["min"], pool["max"]
    return str(low) if low == high else f"{low}..{high}"
