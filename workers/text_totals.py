"""Counts a long text on several workers (map/reduce): its pieces go to word_count, and the answers are added up.

`job.client` submits further jobs to the manager's job servers. A function may wait only for functions of other pools,
so word_count must not be in the pool of this one.
"""

import json

from _settings import size_bytes

DEFAULT_PIECE_BYTES = 64 * 1024


def text_totals(job):
    pieces = split(job.workload, size_bytes(job.settings, "piece_size", DEFAULT_PIECE_BYTES))
    totals = {"lines": 0, "words": 0, "characters": 0}
    answers = job.client.map("word_count", pieces, as_completed=True)  # the map step: many jobs at once
    for done, answer in enumerate(answers, 1):  # the reduce step: sums, in whatever order the answers come
        for name, number in json.loads(answer).items():
            totals[name] += number
        job.status(done, len(pieces))
    return totals


def split(text, piece_bytes):
    """Pieces that end with a line end, so that no line, no word and no character is in two of them."""
    pieces = []
    start = 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + piece_bytes) + 1
        if end == 0:  # a longer line
            end = text.find(b"\n", start + piece_bytes) + 1 or len(text)
        if len(text) - start <= piece_bytes:
            end = len(text)
        pieces.append(text[start:end])
        start = end
    return pieces
