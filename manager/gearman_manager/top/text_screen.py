"""A text that fills the screen: the keys, all troubles, the log of a pool or a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

#: How often a text that changes is made anew.
INTERVAL_S: Final = 1.0


class TextScreen(Screen[None]):
    """A text that can be scrolled, made anew every second. One that grows at its end is followed there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,left,enter", "app.pop_screen", show=False),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, title: str, text: Callable[[], str], *, is_followed: bool = False) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._last = ""
        self._is_followed = is_followed

    def compose(self) -> ComposeResult:
        """The title, the text, and how to leave."""
        yield Static(self._title, markup=False, classes="title")
        with VerticalScroll(can_focus=True):
            yield Static("", markup=False, id="text")
        yield Static("Esc back   up, down, PgUp, PgDn, Home, End   q quit", markup=False, classes="keys")

    def on_mount(self) -> None:
        """Show the text."""
        self.query_one(VerticalScroll).focus()
        self._show()
        self.set_interval(INTERVAL_S, self._show)

    def action_scroll(self, by: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def _show(self) -> None:
        text = self._text()
        if text == self._last:
            return
        self._last = text
        area = self.query_one(VerticalScroll)
        is_at_end = area.scroll_offset.y >= area.max_scroll_y
        self.query_one("#text", Static).update(text)
        if self._is_followed and is_at_end:
            self.call_after_refresh(area.scroll_end, animate=False)
