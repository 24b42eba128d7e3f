"""Finds the things that a module's import leaves behind and that survive no fork: threads, sockets, event loops.

It reads /proc, so it finds them whichever library made them.
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
    """The threads of this process, and the descriptors that it must not share with a fork."""

    threads: frozenset[str]
    descriptors: Mapping[str, str]

    @classmethod
    def now(cls) -> Taint:
        """The state at this moment."""
        descriptors = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue  # the descriptor that reads the folder itself
            for prefix, kind in _KINDS.items():
                if target.startswith(prefix):
                    descriptors[f"{number} {target}"] = kind
        return cls(frozenset(os.listdir("/proc/self/task")), descriptors)

    def since(self, before: Taint) -> str:
        """The additions since `before`, in words; empty if there are none."""
        found = ["a running thread"] if self.threads - before.threads else []
        found += sorted({kind for key, kind in self.descriptors.items() if key not in before.descriptors})
        return " and ".join(found)
