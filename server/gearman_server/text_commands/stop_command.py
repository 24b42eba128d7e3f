"""The text command `stop job HANDLE…`: jobs end at once, also those that a worker has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gearman_server.errors import RefusedError
from gearman_server.requests.stops import Answer
from gearman_server.text_commands.arguments import CommandError, NotAllowedError

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session
    from gearman_server.requests.stops import Stops

_EXPECTED: Final = CommandError(b"INVALID_ARGUMENTS", b"stop job HANDLE is expected, with one handle or more").answer


class StopCommand:
    """Carries out `stop job`."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops

    def execute(self, session: Session, words: list[bytes]) -> bytes:
        """Stop jobs. The answer, with their number, may follow later."""
        if len(words) < 3 or words[1].lower() != b"job":
            return _EXPECTED
        try:
            self._stops.stop(session, words[2:], _number)
        except RefusedError:
            return NotAllowedError().answer
        return b""


def _number(answers: Sequence[Answer]) -> bytes:
    return b"OK %d\n" % sum(each is not Answer.UNKNOWN for each in answers)
