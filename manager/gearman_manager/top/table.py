"""A table that is drawn line by line, of which only the visible rows cost anything. One row is chosen; it stays so when
the rows change their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gearman_manager.top.columns import GAP, MARGIN, Column, Row, fitting
from gearman_manager.top.wording import fitted

_HEADER: Final = Style(bold=True, underline=True)
_SORTED: Final = Style(bold=True, underline=True, reverse=True)
_CHOSEN: Final = Style(bold=True, reverse=True)
_PLAIN: Final = Style()
_OLD: Final = Style(dim=True)
_BY_STATE: Final = {
    "failing": Style(color="red", bold=True),
    "backing-off": Style(color="yellow"),
    "paused": Style(color="yellow"),
    "stopping": Style(color="yellow"),
    "draining": Style(color="yellow"),
    "starting": Style(color="cyan"),
    "ordered": Style(color="cyan"),
    "busy": Style(color="green"),
}


class Table(ScrollView, can_focus=True):
    """Rows under a line of titles."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "open", show=False),
    ]
    DEFAULT_CSS = """
    Table { height: 1fr; overflow-x: hidden; overflow-y: hidden; scrollbar-size: 0 0; background: ansi_default; }
    """

    class Moved(Message):
        """Another row is chosen, or the chosen one has changed."""

    class Opened(Message):
        """Enter was pressed on a row."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self._columns = columns
        self._rows: Sequence[Row] = ()
        self._at = 0
        #: The chosen row; None until the operator has moved: until then it is the first one, whichever that is.
        self._name: str | None = None
        self._sorted = ""
        self._is_old = False

    @property
    def chosen(self) -> Row | None:
        """The chosen row, if there is any."""
        return self._rows[self._at] if self._at < len(self._rows) else None

    def show(self, rows: Sequence[Row], sorted_by: str, *, is_old: bool) -> None:
        """Draw these rows; `sorted_by` is a column's title. Old ones are drawn dimly: they may be out of date."""
        self._rows, self._sorted, self._is_old = rows, sorted_by, is_old
        places = {row["name"]: place for place, row in enumerate(rows)} if self._name is not None else {}
        self._at = places.get(self._name, max(0, min(self._at, len(rows) - 1)) if self._name is not None else 0)
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        self._into_view()
        self.refresh()
        self.post_message(self.Moved())

    def action_move(self, by: int) -> None:
        """Choose another row."""
        self._at = max(0, min(self._at + by, len(self._rows) - 1))
        if self.chosen is not None:
            self._name = self.chosen["name"]
        self._into_view()
        self.refresh()
        self.post_message(self.Moved())

    def action_page(self, by: int) -> None:
        """Choose a row that is so many screens further."""
        self.action_move(by * max(1, self.size.height - 2))

    def action_open(self) -> None:
        """Tell that Enter was pressed."""
        if self.chosen is not None:
            self.post_message(self.Opened())

    def on_resize(self, _event: events.Resize) -> None:
        """Keep the chosen row in view."""
        self.virtual_size = Size(self.size.width, len(self._rows) + 1)
        self._into_view()

    def render_line(self, y: int) -> Strip:
        """A line of the visible part; the first one has the titles, wherever the rows are scrolled to."""
        width = self.size.width
        columns = fitting(self._columns, width)
        if y == 0:
            return _strip([self._title(column, cells) for column, cells in columns], "", _HEADER, width)
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(width)
        row, is_chosen = self._rows[place], place == self._at
        style = _CHOSEN if is_chosen else _OLD if self._is_old else _PLAIN
        cells = [
            (
                fitted(column.text(row), cells, is_right=column.is_right),
                style if is_chosen or self._is_old or column.title != "STATE" else _BY_STATE.get(row["state"], style),
            )
            for column, cells in columns
        ]
        return _strip(cells, ">" if is_chosen else "", style, width)

    def _title(self, column: Column, cells: int) -> tuple[str, Style]:
        style = _SORTED if column.title == self._sorted else _HEADER
        return fitted(column.title, cells, is_right=column.is_right), style

    def _into_view(self) -> None:
        visible = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self._at < top or self._at >= top + visible:
            top = self._at if self._at < top else self._at - visible + 1
        last = max(0, len(self._rows) - visible)
        self.scroll_to(y=min(top, last), animate=False, immediate=True)


def _strip(cells: Sequence[tuple[str, Style]], mark: str, style: Style, width: int) -> Strip:
    segments = [Segment(fitted(mark, MARGIN), style)]
    for text, own in cells:
        segments += [Segment(text, own), Segment(" " * GAP, style)]
    return Strip(segments).adjust_cell_length(width, style)
