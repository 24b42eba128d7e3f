"""The expected output of the clients in this folder, the same in all languages, and the gaps of some libraries."""

from __future__ import annotations

from typing import Final

NOT_UTF8: Final = "the text is not UTF-8: invalid start byte at byte 0"
#: Every byte value, and so many bytes that no peer gets them in one piece.
BINARY: Final = bytes(range(256)) * 4096
TEXT: Final = "normal: sumsaR\nhigh: sumsaR\nlow: sumsaR\n"
TRANSCRIPTS: Final = {
    "text": TEXT,
    "results": f"{TEXT}large: 1048576 bytes reversed\n",
    "progress": "".join(f"{step}/10\n" for step in range(1, 11)) + "complete: sumsaR\nall tasks ended\n",
    "failure": "plain: failed\nafterwards: sumsaR\n",
    "exception": f"exception: ValueError: {NOT_UTF8}\nall tasks ended\nblocking: exception\n",
    "background": "running, 3/10\nunknown\n",
    "queue": "normal: created\nnormal: coalesced\n",
}
CANNOT: Final = {
    ("python3_gearman", "exception"): "it never asks for exceptions",
    ("abraxas", "failure"): "it always asks for exceptions",
}
