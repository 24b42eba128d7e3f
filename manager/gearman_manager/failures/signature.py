"""What makes two failures the same: the exception, and the place in the user's own code. Pure.

Lines move with every edit, so a place is a module and a function in it. Errors without frames, such as those of workers
in other languages, are told apart by the first line of their text, in which numbers, handles and the like do not count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Characters of an exception's name or text, and of a place.
MOST_CHARACTERS: Final = 200
#: Of a text that is looked at: tracebacks and errors are no longer.
_MOST_LOOKED_AT: Final = 16 * 1024
#: A frame, also one of an exception group.
_FRAME: Final = re.compile(r'^[ |+-]{1,200}File "([^"\n]{1,4096})", line (\d{1,9}), in (\S{1,1000})', re.MULTILINE)
_HEADER: Final = re.compile(r"^[ |+-]{0,200}(?:Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE)
#: The type of an exception at the beginning of its text: a name, or several with dots.
_TYPE: Final = re.compile(r"([A-Za-z_]\w{0,100}(?:\.[A-Za-z_]\w{0,100}){0,10})(?::\s|:?$)")
#: Code that is not the user's: the standard library, installed packages, ours.
_FOREIGN: Final = re.compile(
    r"^<|/(?:site|dist)-packages/|/lib(?:64)?/python\d[\d.]*/|/gearman_(?:manager|client|process|workers)/"
)
#: What differs from one failure to the next, and what stands for it: handles of jobs, strings in quotes, addresses and
#: other hexadecimal numbers, numbers.
_CHANGING: Final = (
    (re.compile(r"\bH:[^\s:,;]{1,200}:\d{1,20}"), "HANDLE"),
    (re.compile(r"'[^'\n]{0,500}'|\"[^\"\n]{0,500}\""), "'…'"),
    (re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"), "UUID"),
    (re.compile(r"\b0[xX][0-9a-fA-F]{1,64}\b|\b(?=[a-fA-F]{0,64}\d)[0-9a-fA-F]{8,64}\b"), "HEX"),
    (re.compile(r"\d{1,64}"), "N"),
)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a failure is."""

    #: The exception's type; without one the error's first line; without one how the attempt ended.
    exception: str
    #: As `send_email.deliver`; empty: it is not known.
    place: str = ""
    #: Where that is now; the line is 0 if it is not known.
    file: str = ""
    line: int = 0

    def group_of(self, function: str) -> str:
        """The id of its group among the failures of a function."""
        parts = "\0".join((function, self.exception, self.place))
        return hashlib.blake2b(parts.encode(errors="replace"), digest_size=8).hexdigest()


def signature_of(error: str, traceback: str, outcome: str, roots: Sequence[str] = ()) -> Signature:
    """What a failure is, by its text and its traceback, of which the beginning may be missing. `outcome` is the job
    server's word for how it ended; `roots` are the folders of the user's modules."""
    frame = _innermost(traceback[-_MOST_LOOKED_AT:], roots)
    first = error[:_MOST_LOOKED_AT].strip().partition("\n")[0]
    found = _TYPE.match(first)
    if frame is None:
        return Signature(_general(first) or outcome)
    file, line, name = frame
    place = f"{_module(file, roots)}.{name.strip('<>')}"[:MOST_CHARACTERS]
    return Signature(found[1][:MOST_CHARACTERS] if found else _general(first) or outcome, place, file, line)


def shown_type(error: str, exception: str, place: str) -> str | None:
    """The type of a failure's exception, without any of its text. None: it can't be told from text that is a worker's
    own."""
    if not error:
        return exception  # how the attempt ended
    found = _TYPE.match(error[:_MOST_LOOKED_AT].strip().partition("\n")[0])
    return found[1] if found and (place or found[1].endswith(("Error", "Exception"))) else None


def _innermost(traceback: str, roots: Sequence[str]) -> tuple[str, int, str] | None:
    """File, line and function of the innermost frame in the user's own code; without one, of the innermost at all."""
    headers = list(_HEADER.finditer(traceback))
    last = headers[-1].start() if headers else 0
    frames: list[re.Match[str]] = []
    for begin in dict.fromkeys((last, 0)):  # the exception that was raised last, then those that led to it
        frames = list(_FRAME.finditer(traceback, begin))
        for frame in reversed(frames):
            if _is_own(frame[1], roots):
                return frame[1], int(frame[2]), frame[3]
    return (frames[-1][1], int(frames[-1][2]), frames[-1][3]) if frames else None


def _is_own(file: str, roots: Sequence[str]) -> bool:
    return _below(file, roots) is not None or _FOREIGN.search(file) is None


def _below(file: str, roots: Sequence[str]) -> str | None:
    """The path below one of the user's folders."""
    for root in roots:
        folder = root.rstrip("/") + "/"
        if file.startswith(folder):
            return file[len(folder) :]
    return None


def _module(file: str, roots: Sequence[str]) -> str:
    """The module's name: in the user's folders with its packages, elsewhere without, since these are not known."""
    below = _below(file, roots) or file.rpartition("/")[2]
    parts = below.removesuffix(".py").split("/")
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)


def _general(text: str) -> str:
    """A text in which all that changes from one failure to the next is replaced."""
    text = text[:1000]
    for pattern, stands_for_it in _CHANGING:
        text = pattern.sub(stands_for_it, text)
    return text[:MOST_CHARACTERS]
