"""Fixtures for the tests of requests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..broker_harness import BatchStore, BrokerHarness
from .replayed import Replayed


@pytest.fixture
def replayed(make_broker: Callable[..., BrokerHarness], batch_store: BatchStore) -> Replayed:
    return Replayed(make_broker, batch_store)
