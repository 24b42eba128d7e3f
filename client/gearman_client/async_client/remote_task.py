"""A task of an asynchronous client: as `RemoteTask`, with `await`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from gearman_client.client.job_status import JobHandle
from gearman_client.client.map_order import WINDOW
from gearman_client.client.remote_task import (
    OF_BACKGROUND,
    OF_FOREGROUND,
    OF_MANY,
    BaseRemoteTask,
    groups_of,
    result_codec,
)

if TYPE_CHECKING:
    from gearman_client.async_client.async_client import AsyncClient

R = TypeVar("R")


class AsyncRemoteTask(BaseRemoteTask[R]):
    """A function that runs as a task on a worker. `R` is the type of its result. Errors are those of `RemoteTask`."""

    _client: AsyncClient[Any, Any]

    async def submit(self, *args: Any, **kwargs: Any) -> R:
        """Run the function on a worker and return its result."""
        options = self._options_for("submit", OF_FOREGROUND)
        result: R = await self._client.submit(self.name, self._call(args, kwargs), **options)
        return result

    async def background(self, *args: Any, **kwargs: Any) -> JobHandle:
        """Leave the call with a job server, and return the job's handle."""
        options = self._options_for("background", OF_BACKGROUND)
        return await self._client.submit_background(self.name, self._call(args, kwargs), **options)

    def map(
        self,
        *arguments: Iterable[Any] | AsyncIterable[Any],
        window: int = WINDOW,
        as_completed: bool = False,
        return_exceptions: bool = False,
    ) -> AsyncGenerator[R, None]:
        """Call the function for each argument: `async for result in task.map(…)`. As `RemoteTask.map`.

        arguments: a single iterable may be an asynchronous one.
        """
        options = self._options_for("map", OF_MANY)
        order: dict[str, Any] = {"as_completed": as_completed, "return_exceptions": return_exceptions}
        return self._client.map(self.name, self._calls(arguments), window=window, **order, **options)

    def _calls(self, arguments: tuple[Iterable[Any] | AsyncIterable[Any], ...]) -> Iterable[Any] | AsyncIterable[Any]:
        if len(arguments) == 1 and isinstance(arguments[0], AsyncIterable):
            return (self._call((argument,), {}) async for argument in arguments[0])
        plain: Any = arguments
        return (self._call(group, {}) for group in groups_of(plain))


def async_remote_task(client: AsyncClient[Any, Any], name: str, result: Any) -> AsyncRemoteTask[Any]:
    """As `AsyncClient.task`."""
    return AsyncRemoteTask(client, name, result_codec(name, result))
