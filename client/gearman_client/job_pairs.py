"""The options of a job in a packet: `key=value` pairs in front of the workload. Pure; client and server share it.

Each pair ends with a zero byte, and an empty pair ends them all: `timeout=500 \\0 tag=mail \\0 \\0 workload`. A key may
come several times; values hold no zero byte. docs/protocol-extensions.md has the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote_from_bytes, unquote_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

#: The prefix of the key of a header: `header:traceparent=…`.
HEADER_PREFIX: Final = b"header:"

#: The names of the options, by which a function's `allow_options` allows them.
OPTION_NAMES: Final = (
    "at",
    "backoff",
    "batch",
    "delay",
    "expires",
    "headers",
    "keep_result",
    "key",
    "max_backoff",
    "priority",
    "replace",
    "retries",
    "submission",
    "tags",
    "then",
    "timeout",
    "unique_for",
    "unique_until",
)

MAX_TAGS: Final = 16
MAX_TAG_BYTES: Final = 64
MAX_KEY_BYTES: Final = 256
MAX_SUBMISSION_BYTES: Final = 64
MAX_HEADERS: Final = 32
#: All names and values of a job's headers together.
MAX_HEADER_BYTES: Final = 8 << 10
#: All pairs of one submission together.
MAX_PAIRS_BYTES: Final = 64 << 10
#: The id of a batch of jobs.
MAX_BATCH_ID_BYTES: Final = 64
#: The jobs of a chain behind the first.
MAX_LINKS: Final = 16
#: A longer result is not handed on to the next job of a chain.
MAX_HANDED_ON_BYTES: Final = 1 << 20
#: The priorities that SUBMIT_JOB_WITH knows: 0 to 9, the most urgent is 9.
MAX_PRIORITY: Final = 9
DEFAULT_PRIORITY: Final = 5


def encode_pairs(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The pairs with their end, as they stand in front of a workload.

    Raises:
        ValueError: a key or a value holds a zero byte, or a key an `=`.
    """
    encoded = bytearray()
    for key, value in pairs:
        if b"\0" in key or b"\0" in value or b"=" in key or not key:
            raise ValueError(f"{key.decode(errors='replace')}: keys and values hold no zero byte, keys no '='")
        encoded += b"%s=%s\0" % (key, value)
    encoded += b"\0"
    return bytes(encoded)


def cut_pairs(rest: bytes) -> tuple[bytes, bytes]:
    """What follows the unique key, or the attempt, as the pairs without their end, and the workload.

    Raises:
        ValueError: the end of the pairs is missing.
    """
    if rest.startswith(b"\0"):
        return b"", rest[1:]
    pairs, end, workload = rest.partition(b"\0\0")
    if not end:
        raise ValueError("an empty pair ends the pairs, and it is missing")
    return pairs, workload


def split_pairs(pairs: bytes) -> list[tuple[bytes, bytes]]:
    """The pairs as keys and values, in their order.

    Raises:
        ValueError: one of them has no `=`.
    """
    split = []
    for pair in pairs.split(b"\0") if pairs else ():
        key, is_pair, value = pair.partition(b"=")
        if not is_pair or not key:
            raise ValueError(f"{pair[:40].decode(errors='replace')!r} is no pair key=value")
        split.append((key, value))
    return split


def priority_queue(priority: int) -> int:
    """The queue for a priority from 0 to 9: 0 (high) for 7 to 9, 1 (normal) for 4 to 6, 2 (low) for 0 to 3."""
    return 0 if priority >= 7 else 1 if priority >= 4 else 2


def encode_link(
    function: bytes, unique: bytes = b"", workload: bytes | None = None, pairs: Iterable[tuple[bytes, bytes]] = ()
) -> bytes:
    """A job that is to follow another, as the value of a pair: a percent-encoded query. No workload: what is known of
    the end that it follows."""
    parts = [(b"function", function)]
    if unique:
        parts.append((b"unique", unique))
    if workload is not None:
        parts.append((b"workload", workload))
    parts += pairs
    return "&".join(f"{quote_from_bytes(key, ':')}={quote_from_bytes(value)}" for key, value in parts).encode()


def split_link(link: bytes) -> tuple[Mapping[bytes, bytes], list[tuple[bytes, bytes]]]:
    """A job that is to follow another: its `function`, `unique` and `workload`, and the pairs of its options.

    Raises:
        ValueError: it is no percent-encoded query, it names no function, or one of the three twice.
    """
    own: dict[bytes, bytes] = {}
    pairs = []
    for part in link.split(b"&"):
        key, is_pair, value = (unquote_to_bytes(piece) for piece in part.partition(b"="))
        if not is_pair or not key:
            raise ValueError("function=NAME is expected, and further pairs behind a '&', percent-encoded")
        if key not in (b"function", b"unique", b"workload"):
            pairs.append((key, value))
        elif key in own:
            raise ValueError(f"{key.decode()} is given twice")
        else:
            own[key] = value
    if not own.get(b"function"):
        raise ValueError("function=NAME is missing")
    return own, pairs
