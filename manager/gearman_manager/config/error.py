"""The error of a configuration that can't be used, with all its problems. Pure.

It is apart from `problem`, because it may carry the rest of the configuration, whose models import `problem`.
"""

from __future__ import annotations

from collections.abc import Iterable

from gearman_manager.config.models import Config
from gearman_manager.config.problem import Problem


class ConfigError(Exception):
    """The configuration can't be used. `problems` holds all its mistakes, in file order.

    `rest` is the configuration without them, if one is left. It only serves to find further mistakes.
    """

    def __init__(self, problems: Iterable[Problem], rest: Config | None = None) -> None:
        self.problems = tuple(problems)
        self.rest = rest
        super().__init__("\n".join(str(problem) for problem in self.problems))
