"""The screen of a list: what is wrong on top, a table that can be sorted and filtered, and the chosen row in words."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Input, Static

from gearman_manager.top.actions import Action
from gearman_manager.top.columns import Column, Row, arranged, fitting
from gearman_manager.top.desk import Desk
from gearman_manager.top.dialogs import Confirm
from gearman_manager.top.log_text import LogText
from gearman_manager.top.table import Table
from gearman_manager.top.text_screen import TextScreen
from gearman_manager.top.wording import shown
from gearman_process.values.durations import rough_duration

#: The lines of the chosen row, and on how high a screen they are there.
DETAIL_LINES: Final = 3
DETAIL_FROM: Final = 16
#: A screen of so many lines has one line for troubles.
LINES_PER_TROUBLE: Final = 5
#: The marks of troubles by their severity, for terminals without colours too.
_MARKS: Final = {"critical": ("!! ", Style(color="red", bold=True)), "warning": ("!  ", Style(color="yellow"))}
_BAD: Final = Style(color="red", bold=True)
_GOOD: Final = Style(color="green", bold=True)


class ListScreen(Screen[None]):
    """Shows rows. What a row is, and what can be done to it, its kinds say."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority: what is typed right behind it, perhaps in the same packet, belongs to the filter.
        Binding("slash", "filter", show=False, priority=True),
        Binding("escape", "back", show=False),
        Binding("left,less_than_sign", "sort(-1)", show=False),
        Binding("right,greater_than_sign", "sort(1)", show=False),
        Binding("i", "turn", show=False),
        Binding("t", "troubles", show=False),
        Binding("l", "log", show=False),
    ]
    #: The keys at the foot, those first that must not be cut.
    KEYS: ClassVar[str] = ""

    def __init__(self, desk: Desk, columns: Sequence[Column], column: Column) -> None:
        """Sorted by `column` at first."""
        super().__init__()
        self._desk = desk
        self._columns = columns
        self._column = column
        self._is_turned = False
        self._wanted = ""

    @abstractmethod
    def rows(self) -> Iterable[Row]:
        """All rows, as they are now."""

    @abstractmethod
    def detail(self, row: Row) -> Text:
        """The chosen row in words, of a few lines."""

    def compose(self) -> ComposeResult:
        """Title, troubles, table, the chosen row, message and keys."""
        yield Static("", markup=False, id="title")
        yield Static("", markup=False, id="troubles")
        yield Table(self._columns)
        yield Static("", markup=False, id="detail")
        yield Static("", markup=False, id="message")
        yield Input(placeholder="a part of the name, the state, a function", compact=True, id="filter")
        yield Static(self.KEYS, markup=False, classes="keys")

    @property
    def table(self) -> Table:
        """The table."""
        return self.query_one(Table)

    def on_mount(self) -> None:
        """Draw what is known."""
        self.query_one("#filter").display = False
        self.table.focus()
        self.draw()

    def on_screen_resume(self) -> None:
        """Draw what has come while another screen was shown."""
        self.draw()

    def on_resize(self, event: events.Resize) -> None:
        """Make room for the table."""
        self.query_one("#detail").display = event.size.height >= DETAIL_FROM
        self.draw()

    def draw(self) -> None:
        """Draw the state of the desk."""
        if not self.is_mounted:
            return
        every = list(self.rows())
        rows = arranged(every, self._wanted, self._column, is_turned=self._is_turned)
        self.table.show(rows, self._column.title, is_old=bool(self._desk.gone))
        self.query_one("#title", Static).update(self._title())
        self._draw_troubles()
        self.query_one("#message", Static).update(self._message(len(rows), len(every)))

    # --- what is shown

    def heading(self) -> str:
        """What the title says of the rows."""
        return ""

    def _title(self) -> Text:
        model, gone = self._desk.model, self._desk.gone
        if gone:
            return Text(f"NO ANSWER, asking again and again: {gone}", _BAD)
        state = ("all is well", _GOOD) if model.is_well else ("NOT ALL IS WELL", _BAD)
        since_s = max(0.0, time.time() - model.manager["since"])
        about = f"  {self.heading()}  pid {model.manager['pid']}, up {rough_duration(since_s)}"
        return Text.assemble(state, (about, ""))

    def _draw_troubles(self) -> None:
        troubles, place = self._desk.model.troubles, self.query_one("#troubles", Static)
        most = max(1, self.size.height // LINES_PER_TROUBLE)
        lines = [_trouble(trouble) for trouble in troubles[: most if len(troubles) <= most else most - 1]]
        left = len(troubles) - len(lines)
        if left:
            lines.append(Text(f"   and {left} more: t" if lines else f"   {left} troubles: t"))
        place.display = bool(lines)
        place.update(Text("\n").join(lines))

    def _message(self, count: int, of: int) -> Text:
        text = Text()
        if self._wanted:
            text.append(f"/{shown(self._wanted)}: {count} of {of}  ", "bold")
        said = [Text(message.text, _BAD if message.is_bad else "") for message in self._desk.messages]
        text.append_text(Text("  ").join(said))
        return text

    def on_table_moved(self) -> None:
        """Show the row that is chosen now in words."""
        row = self.table.chosen
        self.query_one("#detail", Static).update(self.detail(row) if row is not None else Text(self.empty()))

    def empty(self) -> str:
        """What stands there if there is no row."""
        return "nothing matches" if self._wanted else ""

    # --- keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A slash within the filter is a part of it."""
        return action != "filter" or not self.query_one("#filter").has_focus

    def action_filter(self) -> None:
        """Type a filter."""
        field = self.query_one("#filter", Input)
        self.query_one("#message").display = False
        field.display = True
        self.set_focus(field)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter at once."""
        self._wanted = event.value
        self.draw()

    def on_input_submitted(self) -> None:
        """Go back to the table."""
        self._leave_filter()

    def action_back(self) -> None:
        """Leave the filter and forget it, or else the screen."""
        if self.query_one("#filter").display or self._wanted:
            self.query_one("#filter", Input).value = ""
            self._leave_filter()
        else:
            self.leave()

    def leave(self) -> None:
        """Go back to where the operator came from; on the first screen nowhere."""

    def action_sort(self, by: int) -> None:
        """Sort by another column of those that are there."""
        there = [column for column, _ in fitting(self._columns, self.size.width)]
        place = there.index(self._column) if self._column in there else 0
        self._column, self._is_turned = there[(place + by) % len(there)], False
        self.draw()

    def action_turn(self) -> None:
        """Turn the order."""
        self._is_turned = not self._is_turned
        self.draw()

    def action_troubles(self) -> None:
        """Show all troubles in full."""
        self.app.push_screen(TextScreen("Troubles", self._all_troubles))

    def action_log(self) -> None:
        """Show what the chosen one has logged of late."""
        row = self.table.chosen
        if row is not None:
            log = LogText(self._desk, row["name"])
            self.app.push_screen(TextScreen(f"The log of {shown(row['name'], 60)}", log.look, is_followed=True))

    def act(self, action: Action) -> None:
        """Carry an action out, if it needs no confirmation or gets it."""

        def answered(is_wanted: bool | None) -> None:
            if is_wanted:
                self._desk.carry_out(action)
            else:
                self._desk.say("nothing was done")
            self.draw()

        if action.question:
            self.app.push_screen(Confirm(action.question), answered)
        else:
            answered(True)

    def _leave_filter(self) -> None:
        self.query_one("#filter").display = False
        self.query_one("#message").display = True
        self.table.focus()
        self.draw()

    def _all_troubles(self) -> str:
        lines = [_trouble(trouble).plain for trouble in self._desk.model.troubles]
        return "\n\n".join(lines) or "There is none."


def _trouble(trouble: Row) -> Text:
    mark, style = _MARKS.get(trouble["severity"], ("-  ", Style()))
    subject = f" {shown(trouble['subject'])}" if trouble["subject"] else ""
    return Text.assemble((mark, style), (f"{trouble['kind']}{subject}: ", "bold"), shown(trouble["text"]))
