"""Which groups of failures are muted, and what of that the alerts have to know. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

#: Dead letters of late whose groups are known.
MOST_LETTERS: Final = 20_000


class Mutes:
    """The muted groups. Moments are Unix seconds."""

    def __init__(self, pools: Callable[[], Container[str]]) -> None:
        """`pools` gives the names of our pools: a client id may say any."""
        self._pools = pools
        self._until: dict[str, float] = {}
        #: The groups of dead letters, by handle, the latest last.
        self._letters: dict[str, str] = {}
        self._failures: Counter[str] = Counter()

    def load(self, until: Mapping[str, float], letters: Iterable[tuple[str, str]]) -> None:
        """Take over what was kept: until when groups are muted, and the groups of letters by handle."""
        self.use(until)
        for handle, group in letters:
            self.note_letter(handle, group)

    def use(self, until: Mapping[str, float]) -> None:
        """These groups are muted until then, and no others: a group that is gone is muted no more if it comes again.
        What was counted of pools that are gone is forgotten."""
        self._until = dict(until)
        pools = self._pools()
        self._failures = Counter({pool: count for pool, count in self._failures.items() if pool in pools})

    def set(self, group: str, until: float | None) -> None:
        """Mute a group until then, or not any more."""
        if until is None:
            self._until.pop(group, None)
        else:
            self._until[group] = until

    def is_muted(self, group: str, now: float) -> bool:
        """Whether a group is muted."""
        return self._until.get(group, now) > now

    def note_failure(self, group: str, pool: str, at: float) -> None:
        """A worker has failed a job, one of our pools by its client id."""
        if self.is_muted(group, at) and pool in self._pools():
            self._failures[pool] += 1

    def note_letter(self, handle: str, group: str) -> None:
        """A dead letter has been kept."""
        self._letters.pop(handle, None)
        self._letters[handle] = group
        while len(self._letters) > MOST_LETTERS:
            del self._letters[next(iter(self._letters))]

    def has_letter(self, handle: str) -> bool:
        """Whether a job is known to have had a dead letter of late."""
        return handle in self._letters

    def no_letter(self, handle: str) -> None:
        """A job has no dead letter any more."""
        self._letters.pop(handle, None)

    # --- for the alerts

    def is_muted_letter(self, handle: str, now: float) -> bool:
        """Whether a dead letter belongs to a muted group."""
        group = self._letters.get(handle)
        return group is not None and self.is_muted(group, now)

    def failures(self, pool: str) -> int:
        """How many jobs the pool's workers have failed while the failures' groups were muted, since the start."""
        return self._failures[pool]
