"""The job for dramatiq."""

from __future__ import annotations

import os

import dramatiq
import noop_counter
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["NOOP_BROKER"]))


@dramatiq.actor
def noop() -> None:
    """Do nothing."""
    noop_counter.count()
