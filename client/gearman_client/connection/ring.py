"""The order in which servers come into question for a key. Pure.

Servers without a cluster: the one that the key's number chooses, and those after it in the list, as Perl's client has
it. Servers of a cluster: rendezvous hashing. Each server has a score for each slot of keys, made of the slot and of the
server's own name for itself; the highest comes first. So whoever knows a server, in whatever order and however he
writes its address, has it at the same place before and after the others; and when one comes or goes, only its own keys
move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from zlib import crc32

from gearman_client.address import Address

#: Keys are told apart by so many slots: enough that each server has about the same share.
SLOTS: Final = 1024
_MASK: Final = 0xFFFFFFFF


class Ring:
    """Servers, and their order for each key. It does not change.

    slots: numbers of keys with the same remainder by this have the same order.
    names: how the servers of a cluster call themselves, and the others are called; None: there is no cluster.
    """

    def __init__(self, addresses: Sequence[Address], names: Mapping[Address, str] | None = None) -> None:
        self.addresses = tuple(addresses)
        self.names = None if names is None else tuple(names.get(each) or str(each) for each in self.addresses)
        self.slots = len(self.addresses) if names is None else SLOTS
        self._orders: dict[int, tuple[Address, ...]] = {}

    def order(self, number: int) -> tuple[Address, ...]:
        """All servers, in the order in which to try them for a key of this number (`server_choice.hash_of`)."""
        slot = number % self.slots if self.slots else 0
        found = self._orders.get(slot)
        if found is None:
            found = self._orders[slot] = self._order(slot)
        return found

    def _order(self, slot: int) -> tuple[Address, ...]:
        if self.names is None:
            return (*self.addresses[slot:], *self.addresses[:slot])
        ranks = sorted((-_score(slot, name), name, at) for at, name in enumerate(self.names))
        return tuple(self.addresses[at] for _, _, at in ranks)


def _score(slot: int, name: str) -> int:
    """A number that looks like one by chance: the last steps of MurmurHash3."""
    mixed = (crc32(name.encode()) + slot * 0x9E3779B1) & _MASK
    mixed = ((mixed ^ mixed >> 16) * 0x85EBCA6B) & _MASK
    mixed = ((mixed ^ mixed >> 13) * 0xC2B2AE35) & _MASK
    return mixed ^ mixed >> 16
