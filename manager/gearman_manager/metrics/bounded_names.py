"""Keeps the number of a label's values within a bound: the first ones are shown, the others are one, `other`. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

OTHER: Final = "other"


class BoundedNames:
    """Chooses the names that are shown. One that is shown stays so until it is gone, so that its series goes on."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._shown: dict[str, None] = {}

    def shown(self, names: Collection[str]) -> Collection[str]:
        """Those of the names that are shown, in the order in which they came."""
        present = set(names)
        for name in [name for name in self._shown if name not in present]:
            del self._shown[name]
        for name in names:
            if len(self._shown) >= self._most:
                break
            self._shown[name] = None
        return self._shown.keys()
