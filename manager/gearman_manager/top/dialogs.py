"""Questions to the operator, at the foot of the screen: yes or no, and a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

#: Of what is typed.
MOST_CHARACTERS = 100


class Confirm(ModalScreen[bool]):
    """A question that only `y` answers with yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,enter,q", "answer(False)", show=False),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question, and its answers."""
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Static("y: yes   n: no", markup=False, classes="keys")

    def action_answer(self, answer: bool) -> None:
        """Go back with the answer."""
        self.dismiss(answer)


class AskLine(ModalScreen[str | None]):
    """A question that a line of text answers; None: it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(self, question: str, proposal: str = "") -> None:
        super().__init__()
        self._question = question
        self._proposal = proposal

    def compose(self) -> ComposeResult:
        """The question, and the line."""
        with Vertical(classes="dialog"):
            yield Static(self._question, markup=False)
            yield Input(self._proposal, compact=True, max_length=MOST_CHARACTERS, select_on_focus=True)
            yield Static("Enter: go on   Esc: leave it", markup=False, classes="keys")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go back with the line."""
        self.dismiss(event.value)

    def action_leave(self) -> None:
        """Go back without one."""
        self.dismiss(None)
