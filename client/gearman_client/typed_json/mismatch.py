"""What can go wrong between JSON and annotations. Values only."""

from __future__ import annotations

from typing import Any, Final

#: The most characters of a name that a message shows.
MOST_SHOWN: Final = 60


class Mismatch(ValueError):
    """A JSON value does not fit an annotation. Its text begins with the place, such as `order.items[3].price`."""

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.place = place

    def below(self, step: str) -> Mismatch:
        """The same mismatch, seen from the value around it: `step` is `.name` or `[3]`."""
        self.place = step + self.place
        return self

    def __str__(self) -> str:
        place = self.place.lstrip(".")
        return f"{place}: {self.text}" if place else self.text


class UnsupportedAnnotation(TypeError):
    """An annotation for which JSON has no form. The text says which, and what to write instead."""


def kind_of(value: Any) -> str:
    """What a JSON value is, in words, without its content: that may be a secret, and the text goes into logs."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)


def shown(name: str) -> str:
    """A name that a peer chose, for a message: quoted, and of a long one only the beginning."""
    return repr(name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…")


def refuse(expected: str, value: Any) -> Mismatch:
    """A mismatch: something else was expected."""
    return Mismatch(f"expected {expected}, not {kind_of(value)}")


class CallRefused(Exception):
    """A job can never succeed: its arguments do not fit the parameters, or its result can't be sent."""
