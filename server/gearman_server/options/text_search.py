"""Looks for a text in the workloads and errors of jobs. Pure.

What it reads is counted, because a thousand jobs can have a thousand bytes or many megabytes of it.
"""

from __future__ import annotations

import re
from typing import Final

#: The part of each text that is read: what `jobs show` shows of a workload.
READ_BYTES: Final = 64 * 1024
#: What is read for one page of a list: a tenth of a second. A cursor says how far it has come.
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
#: The longest text to look for.
MAX_TEXT_BYTES: Final = 256


class TextSearch:
    """Looks for one text; capital letters of ASCII do not matter."""

    __slots__ = ("_find", "read_bytes")

    def __init__(self, wanted: bytes) -> None:
        # Not `in`: in a text of up to 2,500 bytes it may compare all of it at each place, which takes 100 us, not 5.
        self._find = re.compile(re.escape(wanted.lower())).search
        #: What it has read so far.
        self.read_bytes = 0

    def __call__(self, *texts: bytes) -> bool:
        """Whether it stands in the first part of one of these."""
        for text in texts:
            read = text if len(text) <= READ_BYTES else text[:READ_BYTES]
            self.read_bytes += len(read)
            if self._find(read.lower()) is not None:
                return True
        return False
