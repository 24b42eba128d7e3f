"""What `make compiled` refuses, because it would behave otherwise than its sources."""

from __future__ import annotations

import pytest

from gearman_server.compiled.building import MODULES, CantCompile, refuse_tuples_of_floats, refuse_unhashable

LINE = "class Line:\n    def __lt__(self, other): return False\n"


def test_a_class_that_compares_needs_a_hash_of_its_own() -> None:
    with pytest.raises(CantCompile, match="Line compares, but has no __hash__"):
        refuse_unhashable(LINE)
    refuse_unhashable(LINE + "    def __hash__(self): return 1\n")
    refuse_unhashable(f"@python_class\n{LINE}")


def test_a_constant_of_floats_needs_a_type_that_mypyc_keeps_whole() -> None:
    with pytest.raises(CantCompile, match="BUCKETS is a tuple of floats"):
        refuse_tuples_of_floats("BUCKETS: Final = (0.5, 1.0)\n")
    refuse_tuples_of_floats("BUCKETS: Final[tuple[float, ...]] = (0.5, 1.0)\nNAMES: Final = ('a', 'b')\n")


def test_the_modules_are_named_once() -> None:
    assert len(set(MODULES)) == len(MODULES)
