"""What a module leaves behind when it is imported that does not survive a fork: threads, sockets, event loops.

Looked at in the kernel's own books, so that it does not matter by which library it was made.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_KINDS: Final[Mapping[str, str]] = {
    "socket:": "an open socket",
    "anon_inode:[eventpoll]": "an event loop",
    "anon_inode:[io_uring]": "an event loop",
}


@dataclass(frozen=True, slots=True)
class Taint:
    """The threads of this process, and its descriptors that a fork must not share."""

    threads: frozenset[str]
    descriptors: Mapping[str, str]

    @classmethod
    def now(cls) -> Taint:
        """What is there at this moment."""
        descriptors = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue  # the descriptor by which the folder itself was read
            for prefix, kind in _KINDS.items():
                if target.startswith(prefix):
                    descriptors[f"{number} {target}"] = kind
        return cls(frozenset(os.listdir("/proc/self/task")), descriptors)

    def since(self, before: Taint) -> str:
        """What has come since, in words; empty when nothing has."""
        found = ["a running thread"] if self.threads - before.threads else []
        found += sorted({kind for key, kind in self.descriptors.items() if key not in before.descriptors})
        return " and ".join(found)
