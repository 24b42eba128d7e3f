"""What all screens share: the state of the manager, the last messages, questions to the manager. Without Textual."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gearman_manager.errors import ManagerError
from gearman_manager.top.actions import Action
from gearman_manager.top.feed import Calls, Feed
from gearman_manager.top.model import Model
from gearman_manager.top.wording import shown

#: Questions that wait for the manager's answer at once.
MOST_ASKED: Final = 4

Answered = Callable[[Any], None]


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """What is said to the operator."""

    text: str
    #: Whether it is bad news.
    is_bad: bool = False


class Desk:
    """Holds the model; takes news and answers over whenever the screen is about to be drawn."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._feed = Feed(calls)
        self._answers: queue.SimpleQueue[tuple[Answered, Any]] = queue.SimpleQueue()
        self._asked = 0
        self.model = Model()
        #: Why the manager does not answer; empty while it does.
        self.gone = ""
        #: The last message, and behind it the answers to earlier actions that have come since then.
        self.messages: list[Message] = []

    def start(self) -> None:
        """Follow the manager from now on."""
        self._feed.start()

    def take(self) -> bool:
        """Take over what has come; returns whether there was anything."""
        news = list(self._feed.news())
        for kind, content in news:
            self._apply(kind, content)
        has_answers = not self._answers.empty()
        while not self._answers.empty():
            answered, answer = self._answers.get()
            self._asked -= 1
            answered(answer)
        return bool(news) or has_answers

    def say(self, message: str, *, is_bad: bool = False) -> None:
        """Show a message, instead of those before."""
        self.messages = [Message(message, is_bad)]

    def ask(self, resource: str, answered: Answered, refused: Answered, *, action: Action | None = None) -> None:
        """Ask the manager on a thread: GET the resource, or carry an action out. `answered` is called with the answer,
        or `refused` with the reason, when it is taken over."""
        if self._asked >= MOST_ASKED:
            refused("the manager has not answered the last questions yet")
            return
        self._asked += 1
        method, body = ("GET", None) if action is None else ("POST", action.body)

        def run() -> None:
            try:
                answer = self._calls.ask(method, resource, body)
            except ManagerError as error:
                self._answers.put((refused, str(error)))
            except Exception as error:  # noqa: BLE001 (a thread's boundary: an answer that makes no sense)
                self._answers.put((refused, f"the manager's answer makes no sense: {error!r}"))
            else:
                self._answers.put((answered, answer))

        threading.Thread(target=run, name="question", daemon=True).start()

    def carry_out(self, action: Action) -> None:
        """Have the manager do it, and say how that went; if something else is said meanwhile, behind that."""
        waiting = Message("…")
        self.messages = [waiting]

        def answered(answer: Message) -> None:
            if waiting in self.messages:
                self.messages[self.messages.index(waiting)] = answer
            else:
                self.messages.append(answer)

        self.ask(
            action.resource,
            lambda answer: answered(Message(action.done(answer))),
            lambda reason: answered(Message(shown(reason), is_bad=True)),
            action=action,
        )

    def _apply(self, kind: str, content: Any) -> None:
        if kind == "gone":
            self.gone = shown(content)
        elif kind != "overview":
            self.model.apply(kind, content)
        else:
            if self.gone:
                self.say(f"the manager is back, with the pid {content['manager']['pid']}")
            self.gone = ""
            self.model.load(content)
