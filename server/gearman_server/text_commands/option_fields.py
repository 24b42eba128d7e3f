"""The options of a job or dead letter: the fields that show them, and the conditions `tag=` and `key=`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gearman_client.job_pairs import HEADER_PREFIX, split_pairs
from gearman_server.options.job_options import cut_cursor
from gearman_server.text_commands.printable import printable

if TYPE_CHECKING:
    from gearman_server.text_commands.arguments import Arguments


def option_fields(stored: bytes) -> dict[str, bytes]:
    """The fields that show the pairs of a row: `options`, `tags`, `key`, `headers` and `cursor`. Several values in one
    field stand between zero bytes, which no value holds."""
    options: list[bytes] = []
    tags: list[bytes] = []
    headers: list[bytes] = []
    keys: list[bytes] = []
    pairs, cursor = cut_cursor(stored)
    for key, value in split_pairs(pairs):
        if key.startswith(HEADER_PREFIX):
            headers.append(key[len(HEADER_PREFIX) :] + b"=" + value)
        else:
            field, text = {b"tag": (tags, value), b"key": (keys, value)}.get(key, (options, key + b"=" + value))
            field.append(text)
    fields = {"options": options, "tags": tags, "key": keys, "headers": headers, "cursor": [cursor or b""]}
    return {name: printable(b"\0".join(values)) for name, values in fields.items()}


def options_matcher(arguments: Arguments) -> Callable[[bytes], bool] | None:
    """Tells whether the pairs of a row have the tag and the key that are asked for. None: nothing is asked."""
    wanted = [b"\0%s=%s\0" % pair for pair in ((b"tag", arguments.tag), (b"key", arguments.key)) if pair[1] is not None]
    if not wanted:
        return None

    def matches(stored: bytes) -> bool:
        framed = b"\0%s\0" % stored
        return all(pair in framed for pair in wanted)

    return matches
