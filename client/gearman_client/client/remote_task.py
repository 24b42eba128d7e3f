"""A task of a client: its arguments become the workload of a job, and the job's result a value.

`Client.task` makes one for a process without the function's module; a decorated function uses the same class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, Unpack

from gearman_client.arguments import check_options
from gearman_client.client.job_status import JobHandle
from gearman_client.client.options import BackgroundOptions, ForegroundOptions
from gearman_client.client.submission import Encoded
from gearman_client.errors import ArgumentError
from gearman_client.text import to_function
from gearman_client.typed_json.call import OutcomeCodec, encode_call
from gearman_client.typed_json.decoders import decoder_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from gearman_client.client.client import Client

R = TypeVar("R")


class TaskOptions(ForegroundOptions, BackgroundOptions, total=False):
    """The options of a call of a task: those of `Client.submit` and `Client.submit_background`.

    retries: of `submit` and `background`, how often gearman-server lets a worker try again; of `map` and `future`, how
        often the client submits the job again, as with a `TaskSet`.
    try_timeout_s: of `map` and `future`, as with a `TaskSet`.
    """

    try_timeout_s: timedelta | float | None


OF_FOREGROUND: Final = tuple(ForegroundOptions.__annotations__)
OF_BACKGROUND: Final = tuple(BackgroundOptions.__annotations__)
#: Of calls of which many are under way at once; there is no callback for each.
OF_MANY: Final = (*(name for name in OF_FOREGROUND if not name.startswith("on_")), "try_timeout_s")


class BaseRemoteTask(Generic[R]):
    """The name, the client and the options of a task that is called over a client of either kind."""

    def __init__(self, client: Any, name: str, codec: OutcomeCodec, options: Mapping[str, Any] | None = None) -> None:
        """`codec` makes the result of the body of WORK_COMPLETE."""
        self.name = name
        self._client = client
        self._codec = codec
        self._options = dict(options or {})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """The same task with these options for its calls, in addition to those that it has.

        Raises:
            TypeError: there is no such option.
        """
        check_options("with_options", options, TaskOptions.__annotations__)
        return type(self)(self._client, self.name, self._codec, {**self._options, **options})

    #: The same, shorter: `f.options(delay="5m").background(…)`.
    options = with_options

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Encoded:
        return Encoded(encode_call(args, kwargs), self._codec)

    def _options_for(self, method: str, allowed: tuple[str, ...]) -> dict[str, Any]:
        for name in self._options:
            if name not in allowed:
                raise ArgumentError(f"the option {name} does not apply to {method}(), which has {', '.join(allowed)}")
        return self._options


class RemoteTask(BaseRemoteTask[R]):
    """A function that runs as a task on a worker. `R` is the type of its result.

    Its methods take the function's own arguments; `with_options` sets everything else.
    """

    _client: Client[Any, Any]

    def submit(self, *args: Any, **kwargs: Any) -> R:
        """Run the function on a worker and return its result.

        Raises:
            ArgumentError: JSON has no form for an argument, or an option does not apply.
            JobException: the function raised, or an argument does not fit its annotation; the text says which.
            ResultNotDecoded: the result is not JSON, or does not fit the annotation.
            JobFailed, Timeout, ServerError, ConnectionLost, CouldNotConnect: as `Client.submit`.
        """
        options = self._options_for("submit", OF_FOREGROUND)
        result: R = self._client.submit(self.name, self._call(args, kwargs), **options)
        return result

    def background(self, *args: Any, **kwargs: Any) -> JobHandle:
        """Leave the call with a job server, and return the job's handle.

        Raises:
            ArgumentError, Timeout, ServerError, ConnectionLost, CouldNotConnect: as `Client.submit_background`.
        """
        options = self._options_for("background", OF_BACKGROUND)
        return self._client.submit_background(self.name, self._call(args, kwargs), **options)

    def future(self, *args: Any, **kwargs: Any) -> Future[R]:
        """Submit the call, and return a `concurrent.futures.Future` of its result at once.

        Raises:
            ArgumentError: JSON has no form for an argument, or an option does not apply. All else is in the future.
        """
        options = self._options_for("future", OF_MANY)
        future: Future[R] = self._client.submit_future(self.name, self._call(args, kwargs), **options)
        return future

    def map(
        self,
        *arguments: Iterable[Any],
        window: int | None = None,
        as_completed: bool = False,
        return_exceptions: bool = False,
    ) -> Iterator[R]:
        """Call the function for each argument, many at a time, and give the results in order.

        arguments: an iterable of values for the first parameter, or one for each of the first parameters, of which the
            shortest ends the calls.
        window, as_completed, return_exceptions: as of `Client.map`.

        Raises:
            TypeError: the arguments are no iterables, or there are none.
            ArgumentError: an option does not apply. In the place of a result: as `submit`.
        """
        options = self._options_for("map", OF_MANY)
        order: dict[str, Any] = {"as_completed": as_completed, "return_exceptions": return_exceptions}
        groups = groups_of(arguments)
        return self._client.with_codec(self._codec).map(self.name, groups, window=window, **order, **options)


def remote_task(client: Client[Any, Any], name: str, result: Any) -> RemoteTask[Any]:
    """As `Client.task`."""
    return RemoteTask(client, name, result_codec(name, result))


def result_codec(name: str, result: Any) -> OutcomeCodec:
    """The codec for the results of this function, whose type `result` is.

    Raises:
        ArgumentError: the name can't be sent.
        UnsupportedAnnotation: JSON has no form for such a result.
    """
    to_function(name)
    return OutcomeCodec(name, result, decoder_of(result))


def groups_of(arguments: Sequence[Iterable[Any]]) -> Iterable[tuple[Any, ...]]:
    """The positional arguments of each call: one from each iterable.

    Raises:
        TypeError: there is no iterable, or one is a text.
    """
    if not arguments:
        raise TypeError("map() needs the arguments: an iterable for each parameter")
    if any(isinstance(each, str | bytes) or not isinstance(each, Iterable) for each in arguments):
        raise TypeError("map() takes iterables of arguments, not a text or another value: put it into a list")
    return zip(*arguments, strict=False)
