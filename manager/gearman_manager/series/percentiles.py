"""Percentiles of times that were counted in buckets. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gearman_manager.series.figures import BOUNDS_S


def percentile_s(counts: Sequence[int], share: float) -> float | None:
    """The time below which that share of the counted times lies, in seconds; None: there are none.

    Within a bucket times are taken to be spread evenly on a logarithmic scale: a bound is at most three times the one
    before it, so the answer is wrong by that factor at worst. Of times above the last bound that bound is told.
    """
    left = share * sum(counts)
    if left <= 0:
        return None
    for bucket, count in enumerate(counts):
        if count and left <= count:
            if bucket == len(BOUNDS_S):
                break
            if bucket == 0:
                return BOUNDS_S[0] * left / count
            low, high = BOUNDS_S[bucket - 1], BOUNDS_S[bucket]
            return float(low * (high / low) ** (left / count))
        left -= count
    return BOUNDS_S[-1]
