"""After each test the interpreter finds modules as before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gearman_manager.modules import importing


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What loading changes in the process is undone."""
    watched: list[list[Any]] = [sys.path, sys.path_hooks, sys.meta_path]
    lists = [(changed, changed[:]) for changed in watched]
    modules, writes_none = set(sys.modules), sys.dont_write_bytecode
    yield
    for changed, before in lists:
        changed[:] = before
    sys.dont_write_bytecode = writes_none
    sys.path_importer_cache.clear()
    os.environ.pop(importing.FOLDERS_VARIABLE, None)
    importing._folders.clear()
    for name in set(sys.modules) - modules:
        if not (getattr(sys.modules[name], "__file__", "") or "").startswith(sys.base_prefix):
            del sys.modules[name]
