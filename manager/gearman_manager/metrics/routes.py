"""The control API's route `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic
from typing import Final

import gevent
from flask import Blueprint, Response, request
from gevent.lock import BoundedSemaphore
from prometheus_client.exposition import choose_encoder

from gearman_manager.metrics.scrape import Scrape

#: How long an answer is made before others have their turn.
TURN_S: Final = 0.002
#: After a pause of no time gevent may run the greenlet again before it has looked for other events.
PAUSE_S: Final = 0.0005
_OPENMETRICS: Final = "application/openmetrics-text"


def metrics_routes(scrape: Scrape) -> Blueprint:
    """The route; a scraper that asks for OpenMetrics gets that."""
    routes = Blueprint("metrics", __name__)
    turn = BoundedSemaphore()

    @routes.get("/metrics")
    def metrics() -> Response:
        accept = request.headers.get("Accept", "")
        encode, content_type = choose_encoder(accept)
        pieces = scrape.pieces(encode, accept, is_openmetrics=content_type.startswith(_OPENMETRICS))
        return Response(_in_turns(pieces, turn), content_type=content_type)

    return routes


def _in_turns(pieces: Iterator[bytes], turn: BoundedSemaphore) -> Iterator[bytes]:
    """A few pieces of one answer, then everybody else has a turn; of several answers one is made at a time."""
    is_complete = False
    while not is_complete:
        made = []
        with turn:
            until = monotonic() + TURN_S
            for piece in pieces:
                made.append(piece)
                if monotonic() >= until:
                    break
            else:
                is_complete = True
            gevent.sleep(PAUSE_S)
        text = b"".join(made)
        if text:
            yield text
