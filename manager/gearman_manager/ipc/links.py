"""The links that tie all processes of one manager together: the scoreboard, the lifeline and the doorbell.

A child inherits lifeline and doorbell as descriptors, whose numbers are on its command line. Both sides of this are
here and nowhere else: the supervisor writes the numbers, and a zygote or a concurrent worker reads them. The
scoreboard's descriptor goes to workers alone, which close it before user code runs.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gearman_manager.ipc.scoreboard import Scoreboard

_NAMES: Final = ("lifeline", "doorbell")


@dataclass(frozen=True, slots=True)
class Links:
    """The links that every process of this manager holds."""

    scoreboard: Scoreboard
    #: A pidfd of the supervisor: it becomes readable when the supervisor ends.
    lifeline: int
    #: An eventfd by which a worker asks the supervisor to look at the scoreboard.
    doorbell: int

    def descriptors(self, **own: int) -> dict[str, int]:
        """The descriptors for a child to inherit, by their names on its command line; `own` is for this child alone."""
        return {**own, "lifeline": self.lifeline, "doorbell": self.doorbell}

    @classmethod
    def inherited(cls, arguments: Namespace, scoreboard: Scoreboard) -> Links:
        """The child's links, from its parsed command line, and its own part of the scoreboard."""
        return cls(scoreboard, arguments.lifeline, arguments.doorbell)


def ring(doorbell: int) -> None:
    """Ask the supervisor to look at the scoreboard, which it does from time to time anyway."""
    try:
        os.set_blocking(doorbell, False)
        os.eventfd_write(doorbell, 1)
    except OSError:  # a job may have filled or closed it
        return


def descriptor_options(descriptors: dict[str, int]) -> list[str]:
    """The option `--NAME NUMBER` for each descriptor."""
    return [text for name, number in descriptors.items() for text in (f"--{name}", str(number))]


def read_arguments(parser: ArgumentParser, own: Sequence[str], argv: Sequence[str]) -> Namespace:
    """Parse these options in the child; `own` names the descriptors for it alone. Its children inherit none of them."""
    for name in (*own, *_NAMES):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args(argv)
    for name in (*own, *_NAMES):
        os.set_inheritable(getattr(arguments, name), False)
    return arguments
