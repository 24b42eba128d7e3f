"""The operator's settings for a durable store. It imports no SQL: a server without such a store loads none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gearman_process.regular_file import read_regular_file
from gearman_server.errors import UsageError

#: Instead of a URL, for no store at all: jobs live as long as the server.
MEMORY: Final = "memory"
DEFAULT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The store's URL, and how long a submitter may have to wait for the store."""

    url: str
    timeout_s: float = DEFAULT_TIMEOUT_S


_MAX_URL_FILE_BYTES: Final = 1 << 16


def read_url_file(path: str) -> str:
    """Read the URL from a file, because it may hold a password that nobody else should see.

    Raises:
        UsageError: the file can't be read.
    """
    try:
        text = read_regular_file(path, _MAX_URL_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--store-url-file {path} can't be read: {reason}") from error
    if not text:
        raise UsageError(f"--store-url-file {path} is empty: it holds the URL of the store")
    return text


def read_url_descriptor(descriptor: int) -> str:
    """Read the URL from a file that the manager has opened, and close it.

    Raises:
        UsageError: it can't be read.
    """
    try:
        with open(descriptor, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"--store-url-fd {descriptor} can't be read: {error.strerror}") from error
