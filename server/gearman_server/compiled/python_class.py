"""A mark for mypyc."""

from __future__ import annotations

from typing import TypeVar

Class = TypeVar("Class", bound=type)


def python_class(cls: Class) -> Class:
    """Have mypyc keep this class one of Python's: it inherits from one in C, and as mypyc's own would be broken.

    mypyc makes no class of its own from one with a decorator that it does not know.
    """
    return cls
