"""Gives the random number generators that imports have made new seeds, so that no two workers draw the same numbers.

Every worker would begin with a copy of the zygote's, and so would each replacement. Generators of `random` and of
numpy are found wherever they are kept; torch has one of its own. What is made later, as in a `setup`, is left as it is.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

_NUMPY: Final = ("BitGenerator", "RandomState")


def find_generators() -> list[Any]:
    """All generators of this process that can be seeded anew."""
    numpy: Any = sys.modules.get("numpy.random")
    kinds = (random.Random, *(kind for name in _NUMPY if isinstance(kind := getattr(numpy, name, None), type)))
    known: dict[type, bool] = {}
    # The modules' own ones by name: the collector does not tell of objects that were frozen before a fork.
    found: list[Any] = [random.random.__self__]  # type: ignore[attr-defined]
    found += [] if numpy is None else [numpy.random_sample.__self__]
    for candidate in gc.get_objects():
        kind = type(candidate)
        if kind not in known:
            known[kind] = issubclass(kind, kinds)
        if known[kind]:
            found.append(candidate)
    return found


def reseed(generators: Iterable[Any]) -> None:
    """Seed them from the operating system."""
    for generator in generators:
        try:
            if isinstance(generator, random.Random):
                random.Random.seed(generator)
            elif hasattr(generator, "random_raw"):
                generator.state = type(generator)().state
            else:
                generator.seed()
        except Exception:  # noqa: BLE001, S112 (a class of the user may want arguments)
            continue
    if "torch" in sys.modules:
        with suppress(Exception):
            sys.modules["torch"].seed()


def reseed_all() -> None:
    """Find them, and seed them anew."""
    reseed(find_generators())
