"""Answers `GET /jobs/HANDLE`, also for jobs of other servers of the cluster: then the greenlet waits for the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import AsyncResult

from gearman_process.http.messages import HttpRefusal
from gearman_server.http.results import JobPage, handle_of, page_of, page_of_looked

if TYPE_CHECKING:
    from gearman_server.broker import Broker
    from gearman_server.jobs.kept_results import Looked

#: The reader breaks off a question that takes longer.
_PATIENCE_S: Final = 10.0


class ResultPages:
    """The pages of jobs."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def page(self, path: str, query: str, accept: str) -> JobPage:
        """The answer. It blocks the greenlet, but not for long.

        Raises:
            HttpRefusal: the store can't be read now.
        """
        results, unread = self._broker.results, self._broker.functions.unread
        handle = handle_of(path)
        if results.elsewhere is None or results.unfinished(handle) is not None or results.kept.has_expired(handle):
            return page_of(results, unread, path, query, accept)
        answer: AsyncResult = AsyncResult()
        results.elsewhere.look_up(handle, answer.set)
        try:
            found: Mapping[bytes, Looked] | None = answer.get(timeout=_PATIENCE_S)
        except gevent.Timeout:
            found = None
        if found is None:
            raise HttpRefusal(503, "the store can't be read now")
        return page_of_looked(handle, found.get(handle), query, accept)
