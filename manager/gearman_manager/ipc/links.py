"""What ties every process of one manager together: the scoreboard, the lifeline and the doorbell.

They reach a child as inherited descriptors, whose numbers stand on its command line. Both ends of that are here, and
nowhere else: what the supervisor writes, and what a zygote or a concurrent worker reads.
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
    """What every process of this manager holds."""

    scoreboard: Scoreboard
    #: The read end of a pipe whose write end only the supervisor has: its end of file is the supervisor's end.
    lifeline: int
    #: An eventfd by which a worker has the supervisor look at the scoreboard.
    doorbell: int

    def descriptors(self, **own: int) -> dict[str, int]:
        """What a child is to inherit, by the names of its command line; `own` is for this child alone."""
        return {**own, "scoreboard": self.scoreboard.descriptor, "lifeline": self.lifeline, "doorbell": self.doorbell}

    @classmethod
    def inherited(cls, arguments: Namespace) -> Links:
        """The child's, from the command line that `parser` read."""
        return cls(Scoreboard.open(arguments.scoreboard), arguments.lifeline, arguments.doorbell)


def descriptor_options(descriptors: dict[str, int]) -> list[str]:
    """`--NAME NUMBER` for each of them."""
    return [text for name, number in descriptors.items() for text in (f"--{name}", str(number))]


def read_arguments(parser: ArgumentParser, own: str, argv: Sequence[str]) -> Namespace:
    """The child's side of that; `own` names the descriptor that is for it alone. None of them is inherited further."""
    for name in (own, *_NAMES):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args(argv)
    for name in (own, *_NAMES):
        os.set_inheritable(getattr(arguments, name), False)
    return arguments
