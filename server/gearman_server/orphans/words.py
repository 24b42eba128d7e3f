"""What workers and their supervisors have said of jobs that are not here, and may come. Pure, and bounded."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gearman_server.jobs.session import Session

#: Words are kept for so many jobs at most; older ones go.
MAX_WORDS: Final = 100_000
#: The answers among them have so many bytes at most.
MAX_ANSWER_BYTES: Final = 32 << 20


@dataclass(slots=True)
class Word:
    """A worker runs, or has run, a job of a server that is gone."""

    #: Who said so: the worker, or its supervisor.
    speaker: Session
    #: The worker's; that of no other connection if it is the speaker's own.
    client_id: bytes
    #: 0: the speaker does not know it.
    attempt: int
    #: When the worker began the job (monotonic seconds).
    began_at: float
    #: What the worker has sent, once it has answered; empty: it runs the job.
    answer: bytes = b""
    #: When an answer is given up that nobody wants (monotonic seconds).
    until: float = float("inf")


class Words:
    """The words, by the handles of their jobs, the oldest first."""

    def __init__(self) -> None:
        self._words: dict[bytes, Word] = {}
        self._handles: dict[Session, set[bytes]] = defaultdict(set)
        self._answer_bytes = 0

    def __len__(self) -> int:
        return len(self._words)

    def keep(self, handle: bytes, word: Word) -> None:
        """Keep a word, unless one of a later attempt is known, or the worker's answer itself."""
        known = self._words.get(handle)
        if known is not None:
            if known.attempt > word.attempt or (known.answer and known.attempt == word.attempt):
                return
            self.take(handle)
        self._words[handle] = word
        self._handles[word.speaker].add(handle)
        self._answer_bytes += len(word.answer)
        while len(self._words) > MAX_WORDS or self._answer_bytes > MAX_ANSWER_BYTES:
            self.take(next(iter(self._words)))

    def get(self, handle: bytes) -> Word | None:
        """The word about this job."""
        return self._words.get(handle)

    def take(self, handle: bytes) -> Word | None:
        """The same, and forget it."""
        word = self._words.pop(handle, None)
        if word is not None:
            self._answer_bytes -= len(word.answer)
            handles = self._handles[word.speaker]
            handles.discard(handle)
            if not handles:
                del self._handles[word.speaker]
        return word

    def forget(self, speaker: Session) -> None:
        """The connection of this speaker is gone: answers stay."""
        for handle in list(self._handles.get(speaker, ())):
            if not self._words[handle].answer:
                self.take(handle)

    def forget_old(self, now: float) -> float | None:
        """Give up answers whose time is over. Returns when the next one's is; None: there is none."""
        answers = {handle: word.until for handle, word in self._words.items() if word.answer}
        for handle in [handle for handle, until in answers.items() if until <= now]:
            del answers[handle]
            self.take(handle)
        return min(answers.values(), default=None)
