"""The decorator `@task`, and its task: a function whose calls can be sent as jobs.

Types: `P` are the parameters that callers fill, `R` is the result. A coroutine function has the same `R`, although its
plain call gives a coroutine; so the plain call has types of its own, in `CallableTask`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable, Iterator, Mapping
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack, overload

from gearman_client.typed_json.signature import TaskSignature

if TYPE_CHECKING:
    from concurrent.futures import Future

    from gearman_client.async_client.async_client import AsyncClient
    from gearman_client.async_client.remote_task import AsyncRemoteTask
    from gearman_client.client.client import Client
    from gearman_client.client.job_status import JobHandle
    from gearman_client.client.remote_task import RemoteTask, TaskOptions
    from gearman_client.typed_json.call import OutcomeCodec

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
C = TypeVar("C")
A = TypeVar("A")
B = TypeVar("B")
A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

if TYPE_CHECKING:
    Many = Iterable[A] | AsyncIterable[A]

    class MapOrderOptions(TypedDict, total=False):
        """How `map` gives its results."""

        window: int
        as_completed: bool
        return_exceptions: bool

    class OptionsOfTask(TaskOptions, total=False):
        """The options of a call of a task; `client` sends it instead of the default client."""

        client: Client[Any, Any] | AsyncClient[Any, Any] | None


# How `map` knows the types of the first parameters: a task that can be called with so many arguments is one of these.
class _Takes1(Protocol[A_contra, R_co]):
    def submit(self, first: A_contra, /) -> R_co: ...


class _Takes2(Protocol[A_contra, B_contra, R_co]):
    def submit(self, first: A_contra, second: B_contra, /) -> R_co: ...


class Task(Generic[P, R]):
    """A function that can be sent as a job. Its methods take the function's arguments.

    name: of the function on the job server.
    decorator_options: for the manager.
    function: the decorated function.
    """

    def __init__(self, function: Callable[..., Any], name: str | None, options: Mapping[str, object]) -> None:
        update_wrapper(self, function, updated=())  # type: ignore[arg-type]
        self.__name__: str
        self.function = function
        self.name: str = name or function.__name__
        self.decorator_options = dict(options)
        self.signature = TaskSignature(function)
        self._client: Any = None
        self._call_options: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def __reduce__(self) -> str:
        return str(self.function.__qualname__)  # pickled by its name, as functions are

    def with_options(self, **options: Unpack[OptionsOfTask]) -> Self:
        """The same task with these options for its calls, in addition to those that it has.

        client: sends the call instead of the default client.
        All others are those of `Client.submit` and `Client.submit_background`.

        Raises:
            TypeError: there is no such option.
        """
        from gearman_client.arguments import check_options
        from gearman_client.client.remote_task import TaskOptions

        check_options("with_options", options, TaskOptions.__annotations__ | {"client": None})
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        given: dict[str, Any] = {**options}
        other._client = given.pop("client", self._client)
        other._call_options = {**self._call_options, **given}
        return other

    #: The same, shorter: `f.options(retries=3, delay="5m").background(…)`.
    options = with_options

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function on a worker and return its result.

        Raises:
            TypeError: the arguments do not fit the parameters.
            ArgumentError: JSON has no form for an argument, or an option does not apply.
            JobException: the function raised, or an argument does not fit its annotation; the text says which.
            ResultNotDecoded: the result does not fit the annotation: the worker's code is another version.
            JobFailed, Timeout, ServerError, ConnectionLost, CouldNotConnect: as `Client.submit`.
        """
        return self._checked(args, kwargs).submit(*args, **kwargs)

    def background(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Leave the call with a job server, and return the job's handle.

        Raises:
            TypeError, ArgumentError: as `submit`.
            Timeout, ServerError, ConnectionLost, CouldNotConnect: as `Client.submit_background`.
        """
        return self._checked(args, kwargs).background(*args, **kwargs)

    def outbox(self, connection: Any, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Write the call into the outbox in the program's database, in its transaction: `gearman_client.outbox`.

        connection: a DB-API connection, a `Connection` or `Session` of SQLAlchemy, or Django's connection.
        Returns the id of the submission.

        Raises:
            TypeError, ArgumentError: as `submit`, or it is no connection; nothing is inserted.
            OutboxError: there is no table `gearman_outbox`.
        """
        from gearman_client.client.submission import Encoded
        from gearman_client.errors import ArgumentError
        from gearman_client.outbox.outbox import Outbox
        from gearman_client.outbox.row import OutboxOptions
        from gearman_client.tasks.default_client import default_submissions
        from gearman_client.typed_json.call import encode_call

        self.signature.check_call(args, kwargs)
        for name in self._call_options:
            if name not in OutboxOptions.__annotations__:
                allowed = ", ".join(OutboxOptions.__annotations__)
                raise ArgumentError(f"the option {name} does not apply to outbox(), which has {allowed}")
        settings = default_submissions() if self._client is None else self._client._submissions
        call = Encoded(encode_call(args, kwargs), self._codec)
        return Outbox(settings=settings).background(connection, self.name, call, **self._call_options)

    def future(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit the call, and return a `concurrent.futures.Future` of its result at once.

        Raises:
            TypeError, ArgumentError: as `submit`; all else is in the future.
        """
        return self._checked(args, kwargs).future(*args, **kwargs)

    @overload
    def map(self: _Takes1[A, R], first: Iterable[A], /, **order: Unpack[MapOrderOptions]) -> Iterator[R]: ...
    @overload
    def map(
        self: _Takes2[A, B, R], first: Iterable[A], second: Iterable[B], /, **order: Unpack[MapOrderOptions]
    ) -> Iterator[R]: ...
    def map(self, *arguments: Iterable[Any], **order: Unpack[MapOrderOptions]) -> Iterator[Any]:
        """Call the function for each argument, many at a time, and give the results in order.

        arguments: an iterable of values for the first parameter, or one for each of the first parameters, of which the
            shortest ends the calls.
        window: the most calls taken ahead of the results.
        as_completed: give the results as they come, not in order.
        return_exceptions: give the exception of a failed call in its place, instead of raising it.

        Raises:
            TypeError: the function has other parameters. In the place of a result: as `submit`.
        """
        self.signature.check_call(arguments, {})
        return self._remote().map(*arguments, **order)

    async def submit_async(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `submit`, with `await`; the client is an AsyncClient."""
        self.signature.check_call(args, kwargs)
        return await self._async_remote().submit(*args, **kwargs)

    async def background_async(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """As `background`, with `await`; the client is an AsyncClient."""
        self.signature.check_call(args, kwargs)
        return await self._async_remote().background(*args, **kwargs)

    @overload
    def map_async(
        self: _Takes1[A, R], first: Many[A], /, **order: Unpack[MapOrderOptions]
    ) -> AsyncGenerator[R, None]: ...
    @overload
    def map_async(
        self: _Takes2[A, B, R], first: Iterable[A], second: Iterable[B], /, **order: Unpack[MapOrderOptions]
    ) -> AsyncGenerator[R, None]: ...
    def map_async(self, *arguments: Many[Any], **order: Unpack[MapOrderOptions]) -> AsyncGenerator[Any, None]:
        """As `map`, for `async for`; a single iterable may be an asynchronous one."""
        self.signature.check_call(arguments, {})
        return self._async_remote().map(*arguments, **order)

    def _checked(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> RemoteTask[R]:
        self.signature.check_call(args, kwargs)
        return self._remote()

    def _remote(self) -> RemoteTask[R]:
        from gearman_client.client.remote_task import RemoteTask
        from gearman_client.tasks.default_client import default_client

        client = default_client() if self._client is None else self._client
        if hasattr(client, "__aenter__"):
            raise TypeError("the client of this task is an AsyncClient: await submit_async, or another method …_async")
        return RemoteTask(client, self.name, self._codec, self._call_options)

    def _async_remote(self) -> AsyncRemoteTask[R]:
        from gearman_client.async_client.remote_task import AsyncRemoteTask
        from gearman_client.tasks.default_client import default_async_client

        client = default_async_client() if self._client is None else self._client
        if not hasattr(client, "__aenter__"):
            raise TypeError("the client of this task is a Client, which blocks: with_options(client=AsyncClient(…))")
        return AsyncRemoteTask(client, self.name, self._codec, self._call_options)

    @cached_property
    def _codec(self) -> OutcomeCodec:
        from gearman_client.typed_json.call import OutcomeCodec

        return OutcomeCodec(self.name, self.signature.result_kind, self.signature.decode_result)


class CallableTask(Task[P, R], Generic[P, R, Q, C]):
    """A task, and its plain call: `Q` are all parameters of the function, `C` is what it returns."""

    def __call__(self, *args: Q.args, **kwargs: Q.kwargs) -> C:
        """Call the function here."""
        result: C = self.function(*args, **kwargs)
        return result


def is_task_by_itself(function: Callable[..., Any]) -> bool:
    """Whether a function asks for arguments of its own, and not for the job: `TaskSignature.is_task` says by what."""
    try:
        return hasattr(function, "__qualname__") and TaskSignature(function).is_task
    except (TypeError, ValueError):
        return False  # written in C


class TaskDecorator(Protocol):
    """Makes a task of a function."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> CallableTask[P, R, P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> CallableTask[P, R, P, R]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> CallableTask[P, R, P, Coroutine[Any, Any, R]]: ...
@overload
def task(function: Callable[P, R], /) -> CallableTask[P, R, P, R]: ...
@overload
def task(*, name: str | None = None, **options: object) -> TaskDecorator: ...
def task(function: Any = None, /, *, name: str | None = None, **options: object) -> Any:
    """Make a function a task.

    name: the name of the function on the job server; by default the Python name.
    options: keys of the manager's configuration for the function, as `timeout="30s"`; clients pass them over.

    Raises:
        TypeError: it is no function.
    """

    def decorate(target: Any) -> CallableTask[..., Any, ..., Any]:
        if not callable(target) or isinstance(target, type) or not hasattr(target, "__qualname__"):
            raise TypeError(f"@task is for functions, not {target!r}")
        return CallableTask(target, name, options)

    return decorate if function is None else decorate(function)
