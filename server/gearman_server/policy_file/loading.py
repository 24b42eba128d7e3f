"""Gives a policies file to the broker: at the start, and again when the operator asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gearman_server.errors import PolicyFileError
from gearman_server.log import NOTICE, logger

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.policy_file.contents import PolicyFile


def read_policies(path: str) -> PolicyFile:
    """The policies in a file. Its path becomes absolute: a daemon leaves the folder that it was started in.

    Raises:
        PolicyFileError: with all mistakes in it.
    """
    # Imported only for a file: the parser's libraries, pydantic and YAML, would cost every server memory and time.
    from gearman_server.policy_file import file

    return file.read_policies(os.path.abspath(path))


def use_policies(broker: Broker, file: PolicyFile, now: float) -> None:
    """Have the broker follow the file's rules and schedules, starting at `now` (monotonic seconds)."""
    broker.use_policies(file.by_function)
    broker.use_schedules(file.schedules, now)


def reread_policies(broker: Broker, path: str, now: float) -> None:
    """Read the file anew. If there is a mistake in it, the old policies stay."""
    try:
        file = read_policies(path)
    except PolicyFileError as error:
        for problem in error.problems:
            logger.error("the policies stay as they were: %s", problem)
    else:
        use_policies(broker, file, now)
        functions, schedules = len(file.by_function), len(file.schedules)
        logger.log(NOTICE, "policies read again from %s, for %d functions, %d schedules", path, functions, schedules)
