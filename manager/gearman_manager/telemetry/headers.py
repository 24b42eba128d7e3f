"""Headers for the collector, from a file with a line `NAME: VALUE` for each."""

from __future__ import annotations

import re
from typing import Final

from gearman_process.regular_file import read_regular_file

MAX_BYTES: Final = 65536
#: A token of RFC 9110.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_headers(path: str) -> dict[str, str]:
    """The headers of a file, their names in lower case. Lines that are empty or begin with `#` are passed over.

    Raises:
        OSError: it can't be read.
        ValueError: a line is no header; its content is not told, as it may hold a secret.
    """
    headers = {}
    for number, line in enumerate(read_regular_file(path, MAX_BYTES).decode().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name.strip()) or not value.strip().isprintable():
            raise ValueError(f"line {number} is no header: write NAME: VALUE")
        headers[name.strip().lower()] = value.strip()
    return headers
