"""Whoever loads worker modules in this process leaves their folders to the processes that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from gearman_manager.modules.importing import FOLDERS_VARIABLE


@pytest.fixture(autouse=True)
def no_folders_stay() -> Iterator[None]:
    yield
    os.environ.pop(FOLDERS_VARIABLE, None)
