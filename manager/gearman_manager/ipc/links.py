"""The links that tie all processes of one manager together: the scoreboard, the lifeline and the doorbell.

A child inherits them as descriptors, whose numbers are on its command line. Both sides of this are here and nowhere
else: the supervisor writes the numbers, and a zygote or a concurrent worker reads them.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_manager.ipc.scoreboard import Scoreboard

_NAMES: Final = ("scoreboard", "lifeline", "doorbell")


@dataclass(frozen=True, slots=True)
class Links:
    """The links that every process of this manager holds."""

    scoreboard: Scoreboard
    #: The read end of a pipe whose write end only the supervisor has: its end of file means the supervisor's end.
    lifeline: int
    #: An eventfd by which a worker asks the supervisor to look at the scoreboard.
    doorbell: int

    def descriptors(self, **own: int) -> dict[str, int]:
        """The descriptors for a child to inherit, by their names on its command line; `own` is for this child alone."""
        return {**own, "scoreboard": self.scoreboard.descriptor, "lifeline": self.lifeline, "doorbell": self.doorbell}

    @classmethod
    def inherited(cls, arguments: Namespace) -> Links:
        """The child's links, from its parsed command line."""
        return cls(Scoreboard.open(arguments.scoreboard), arguments.lifeline, arguments.doorbell)


def descriptor_options(descriptors: dict[str, int]) -> list[str]:
    """The option `--NAME NUMBER` for each descriptor."""
    return [text for name, number in descriptors.items() for text in (f"--{name}", str(number))]


def read_arguments(parser: ArgumentParser, own: str, argv: Sequence[str]) -> Namespace:
    """Parse these options in the child; `own` names the descriptor for it alone. Its children inherit none of them."""
    for name in (own, *_NAMES):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args(argv)
    for name in (own, *_NAMES):
        os.set_inheritable(getattr(arguments, name), False)
    return arguments
