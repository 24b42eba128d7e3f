"""The unique id that libgearman's clients send for `#`: MurmurHash3 of the workload, 32 bits, in decimal. Pure."""

from __future__ import annotations

from typing import Final

_WORD: Final = 0xFFFFFFFF
#: libhashkit's seed is a multiple of it, by the number of bytes.
_SEED: Final = 0xDEADBEEF


def workload_hash(workload: bytes) -> str:
    """The unique id of a workload."""
    state = _SEED * len(workload) & _WORD
    whole = len(workload) // 4 * 4
    for start in range(0, whole, 4):
        state ^= _scrambled(workload[start : start + 4])
        state = _turned(state, 13) * 5 + 0xE6546B64 & _WORD
    state ^= _scrambled(workload[whole:])
    return str(_finished(state ^ len(workload)))


def _scrambled(part: bytes) -> int:
    number = int.from_bytes(part, "little") * 0xCC9E2D51 & _WORD
    return _turned(number, 15) * 0x1B873593 & _WORD


def _turned(number: int, bits: int) -> int:
    return (number << bits | number >> (32 - bits)) & _WORD


def _finished(state: int) -> int:
    state ^= state >> 16
    state = state * 0x85EBCA6B & _WORD
    state ^= state >> 13
    state = state * 0xC2B2AE35 & _WORD
    return state ^ state >> 16
