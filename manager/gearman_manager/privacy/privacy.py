"""The rules of all functions: one object, which every outlet has, and which a reload gives other rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gearman_manager.privacy.function_privacy import FunctionPrivacy

_OPEN: Final = FunctionPrivacy()


class Privacy:
    """Gives the rules of a function, by its registered name."""

    def __init__(self) -> None:
        self._by_function: Mapping[str, FunctionPrivacy] = {}
        self._others = _OPEN
        #: For texts that belong to no function, such as lines of a log: the rules of all functions together.
        self.of_all = _OPEN

    def use(self, by_function: Mapping[str, FunctionPrivacy], others: FunctionPrivacy) -> None:
        """Have these rules from now on; `others` are for functions that are not among them."""
        self._by_function, self._others = dict(by_function), others
        rules = dict.fromkeys(rule for each in (*by_function.values(), others) for rule in each.redact)
        self.of_all = FunctionPrivacy(tuple(rules))

    @property
    def retention_s(self) -> dict[str, float]:
        """By function, the seconds for which failed and finished jobs are kept; of those with a time of their own."""
        ages_s = ((name, rules.retention_s) for name, rules in self._by_function.items())
        return {name: age_s for name, age_s in ages_s if age_s is not None}

    def hides(self, function: str | None) -> bool:
        """Whether anything of a function's jobs is not shown; None: of any function's."""
        if function is not None:
            return self.of(function).hides
        return self._others.hides or any(rules.hides for rules in self._by_function.values())

    def of(self, function: str) -> FunctionPrivacy:
        """The rules for a function's jobs."""
        return self._by_function.get(function, self._others)
