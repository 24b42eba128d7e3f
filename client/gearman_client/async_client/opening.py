"""Opens a connection from an event loop, which meanwhile serves others, with the steps of the blocking client."""

from __future__ import annotations

import asyncio
import select
from time import monotonic

from gearman_client.address import Address
from gearman_client.client.opening import Opening, OpeningSettings
from gearman_client.connection.connection import Connection


async def open_connection(address: Address, settings: OpeningSettings) -> Connection:
    """A connection to a job server that has answered a first question.

    Raises:
        CouldNotConnect: the server can't be reached in time, or does not answer like a job server.
    """
    opening = Opening(address, settings, monotonic())
    try:
        while (connection := opening.advance(monotonic())) is None:
            await _wait(opening)
        return connection
    finally:
        opening.close()


async def _wait(opening: Opening) -> None:
    """Wait for the next event, or for the deadline."""
    loop = asyncio.get_running_loop()
    descriptor, woken = opening.fileno(), loop.create_future()
    watch, unwatch = (
        (loop.add_writer, loop.remove_writer)
        if opening.events & select.POLLOUT
        else (loop.add_reader, loop.remove_reader)
    )
    timer = loop.call_later(max(0.0, opening.deadline - monotonic()), _wake, woken)
    watch(descriptor, _wake, woken)
    try:
        await woken
    finally:
        unwatch(descriptor)
        timer.cancel()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
