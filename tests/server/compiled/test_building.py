"""What `make compiled` refuses, because it would behave otherwise than its sources."""

from __future__ import annotations

import pytest

from gearman_server.compiled.building import MODULES, CantCompile, refuse_unhashable

LINE = "class Line:\n    def __lt__(self, other): return False\n"


def test_a_class_that_compares_needs_a_hash_of_its_own() -> None:
    with pytest.raises(CantCompile, match="Line compares, but has no __hash__"):
        refuse_unhashable(LINE)
    refuse_unhashable(LINE + "    def __hash__(self): return 1\n")
    refuse_unhashable(f"@python_class\n{LINE}")


def test_the_modules_are_named_once() -> None:
    assert len(set(MODULES)) == len(MODULES)
