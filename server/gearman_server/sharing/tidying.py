"""Sees to the bounds of the tables that all servers of a cluster use.

There is no leader: each looks now and then, and soon after it has added something. What has to go is found by one
statement, so two that look at once remove the same rows.
"""

from __future__ import annotations

from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from gearman_server.loop import Loop, Pause
from gearman_server.sharing import batches, keys, letters, results

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.sharing.reader import Reader

#: After something was added.
_SOON_S: Final = 1.0
#: There may be very many results, and more come all the time.
_RESULTS_SOON_S: Final = 5.0
#: In any case.
_EVERY_S: Final = 60.0


class Tidying:
    """Looks at the tables for one server."""

    def __init__(self, reader: Reader, loop: Loop) -> None:
        self._reader = reader
        self._broker: Broker | None = None
        self._timer = loop.timer(_SOON_S, _EVERY_S)
        self._letters_pause = Pause(loop, _SOON_S)
        self._results_pause = Pause(loop, _RESULTS_SOON_S)

    def start(self, broker: Broker) -> None:
        """Look from now on, and tell the broker what the tables have."""
        self._broker = broker
        self._timer.start(self._look)

    def stop(self) -> None:
        """Look no more."""
        self._timer.stop()
        self._letters_pause.stop()
        self._results_pause.stop()

    def note_letter(self) -> None:
        """A letter was added, or is about to be."""
        if not self._letters_pause.is_running:
            self._letters_pause.start(self._look_at_letters)

    def note_result(self) -> None:
        """A result was added, or is about to be."""
        if not self._results_pause.is_running:
            self._results_pause.start(self._look_at_results)

    def _look(self) -> None:
        self._look_at_letters()
        self._look_at_results()
        self._reader.ask(partial(keys.tidy, unix_now=time()), lambda _gone: None)
        self._reader.ask(partial(batches.tidy, unix_now=time()), lambda _gone: None)

    def _look_at_letters(self) -> None:
        if self._broker is not None:
            kept = self._broker.dead_letters
            look = partial(letters.tidy, bounds=kept.bounds, ages_s=kept.ages_s, unix_now=time())
            self._reader.ask(look, self._note_letters)

    def _note_letters(self, found: letters.Tidied | None) -> None:
        if self._broker is not None and found is not None:
            self._broker.dead_letters.note_shared(*found)

    def _look_at_results(self) -> None:
        if self._broker is not None:
            bounds = self._broker.results.kept.bounds
            self._reader.ask(partial(results.tidy, bounds=bounds, unix_now=time()), self._note_results)

    def _note_results(self, found: letters.Tidied | None) -> None:
        if self._broker is not None and found is not None:
            kept = self._broker.results.kept
            kept.note_shared(found.kept, found.size_bytes, found.too_many, monotonic())
            if found.too_many + found.too_old >= results.MOST_AT_ONCE:
                self.note_result()
