r"""The cells of our own job server's tables, in which bytes that do not print stand as `\xNN`. Pure."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\\x([0-9a-f]{2})")


def unescaped(cell: bytes) -> bytes:
    """The bytes that the server has escaped."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), cell)
