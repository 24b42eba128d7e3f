"""The text commands `pause function`, `resume function` and `holds`: functions of which no job is started. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.text_commands.arguments import CommandError, NotAllowedError
from gearman_server.text_commands.printable import printable
from gearman_server.text_commands.tables import in_pieces

if TYPE_CHECKING:
    from gearman_server.jobs.access import AccessList
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.function import Function
    from gearman_server.jobs.functions import Functions
    from gearman_server.jobs.session import Session
    from gearman_server.requests.pauses import Pauses
    from gearman_server.text_commands.admin import Answer, Command

_UNKNOWN: Final = CommandError(b"UNKNOWN_FUNCTION", b"There is no such function")


class PauseCommands:
    """Carries out these commands."""

    def __init__(self, functions: Functions, pauses: Pauses, agenda: Agenda, allowed: AccessList) -> None:
        self._functions = functions
        self._pauses = pauses
        self._agenda = agenda
        self._allowed = allowed

    def commands(self) -> dict[bytes, Command]:
        """The commands, by their first words."""
        return {b"pause": self._change, b"resume": self._change, b"holds": self._holds}

    def _change(self, session: Session, words: list[bytes]) -> bytes:
        try:
            if len(words) != 3 or words[1].lower() != b"function":
                raise CommandError(b"INVALID_ARGUMENTS", b"pause function NAME or resume function NAME is expected")
            if not self._allowed.allows(session.identity):
                raise NotAllowedError
            if words[0].lower() == b"pause":
                return self._pauses.pause(session, words[2])
            function = self._functions.by_name.get(words[2])
            if function is None:
                raise _UNKNOWN
            return self._pauses.resume(session, function)
        except RefusedError as error:
            return CommandError(error.code, error.text).answer
        except CommandError as error:
            return error.answer

    def _holds(self, _session: Session, _words: list[bytes]) -> Answer:
        return in_pieces(self._hold_lines())

    def _hold_lines(self) -> Iterator[bytes]:
        by_name, agenda = self._functions.by_name, self._agenda
        for name in self._functions.names:
            function = by_name.get(name)
            # No line, but a part: a piece must not walk over all functions in search of one.
            yield b"" if function is None else _lines(function, agenda.now)


def _lines(function: Function, now: float) -> bytes:
    """A line for each reason for which none of its jobs is started: name, kind, since when and until when (Unix
    seconds)."""
    throttle, lines = function.throttle, b""
    if throttle is None:
        return lines
    brake = throttle.brake
    if throttle.paused_since is not None:
        lines += b"%s\tpaused\t%.3f\t-\n" % (printable(function.name), throttle.paused_since)
    if brake is not None and brake.until is not None:
        kind = b"held" if now < brake.until else b"probed"
        lines += b"%s\t%s\t%.3f\t%.3f\n" % (printable(function.name), kind, brake.since_unix, brake.until_unix)
    wish = throttle.wished(now)
    if wish is not None:
        lines += b"%s\tthrottled\t%.3f\t%.3f\n" % (printable(function.name), wish.since_unix, wish.until_unix)
    return lines
