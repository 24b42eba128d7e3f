"""The clients over which tasks are sent that name none: set by one call, else for the servers of the environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Unpack
from weakref import WeakKeyDictionary

from gearman_client.errors import ArgumentError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Iterable

    from gearman_client.address import Address
    from gearman_client.async_client.async_client import AsyncClient
    from gearman_client.client.client import Client
    from gearman_client.client.options import ClientOptions
    from gearman_client.client.submission import SubmissionSettings

    AnyClient = Client[Any, Any]
    AnyAsyncClient = AsyncClient[Any, Any]


class DefaultClients:
    """A client, and an asynchronous one for each event loop that is not closed, made when they are first needed."""

    def __init__(self, make: Callable[[], AnyClient], make_async: Callable[[], AnyAsyncClient]) -> None:
        self._make = make
        self._make_async = make_async
        self._client: AnyClient | None = None
        #: None: no loop has asked yet; most processes have none.
        self._of_loops: WeakKeyDictionary[AbstractEventLoop, AnyAsyncClient] | None = None

    def client(self) -> AnyClient:
        """The client."""
        if self._client is None:
            self._client = self._make()
        return self._client

    def async_client(self) -> AnyAsyncClient:
        """The client of the running event loop."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        of_loops = self._of_loops
        if of_loops is None:
            of_loops = self._of_loops = WeakKeyDictionary()
        found = of_loops.get(loop)
        if found is None:
            found = of_loops[loop] = _left_behind(of_loops) or self._make_async()
        return found

    def submissions(self) -> SubmissionSettings:
        """The settings for submissions of whichever client there is."""
        try:
            return self.client()._submissions
        except ArgumentError:
            return self._make_async()._submissions


def _left_behind(of_loops: WeakKeyDictionary[AbstractEventLoop, AnyAsyncClient]) -> AnyAsyncClient | None:
    """The client of a loop that is closed: another loop may use it, and it closes its old connections then.

    Otherwise each `asyncio.run` would leave a client and its connections behind.
    """
    for reference in of_loops.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            return of_loops.pop(loop, None)
    return None


def clients_of(
    servers: str | Address | Iterable[str | Address] | None, options: ClientOptions | None = None
) -> DefaultClients:
    """Clients of these servers; None: those that GEARMAN_SERVERS names, else the one on this machine."""
    given: ClientOptions = options or {}

    def make() -> AnyClient:
        from gearman_client.client.client import Client

        return Client(servers, **given)

    def make_async() -> AnyAsyncClient:
        from gearman_client.async_client.async_client import AsyncClient

        return AsyncClient(servers, **given)

    return DefaultClients(make, make_async)


_chosen: DefaultClients | None = None
_of_environment: Final = clients_of(None)
_otherwise = _of_environment


def set_default_servers(
    servers: str | Address | Iterable[str | Address] | None, **options: Unpack[ClientOptions]
) -> None:
    """Set the job servers of all tasks that name no client with `with_options(client=…)`.

    servers, options: as of a Client; each event loop gets an AsyncClient of its own. None: the servers that the
        environment variable GEARMAN_SERVERS names, else the one on this machine, or, in a worker of the manager, its
        servers.
    """
    global _chosen
    _chosen = None if servers is None and not options else clients_of(servers, options)


def set_default_client(client: AnyClient | AnyAsyncClient | None) -> None:
    """As `set_default_servers`, with a client of your own, which is for one kind of calls: blocking or asynchronous.

    Raises:
        TypeError: it is no client.
    """
    global _chosen
    if client is None:
        _chosen = None
        return
    if not hasattr(client, "submit_background"):
        raise TypeError(f"expected a Client or an AsyncClient, not {client!r}: set_default_servers takes addresses")
    given: Any = client
    is_async = hasattr(client, "__aenter__")
    _chosen = DefaultClients(_no_client, lambda: given) if is_async else DefaultClients(lambda: given, _no_async_client)


def fall_back_to(clients: DefaultClients) -> None:
    """The clients of a process in which the program itself has set none: a worker of the manager has its servers."""
    global _otherwise
    _otherwise = clients


def default_client() -> AnyClient:
    """The client of blocking calls.

    Raises:
        AddressError: GEARMAN_SERVERS is not a list of addresses.
        ArgumentError: the default client is an AsyncClient.
    """
    return (_chosen or _otherwise).client()


def default_async_client() -> AnyAsyncClient:
    """The client of asynchronous calls, for the running event loop.

    Raises:
        AddressError: GEARMAN_SERVERS is not a list of addresses.
        ArgumentError: the default client is a Client.
    """
    return (_chosen or _otherwise).async_client()


def default_submissions() -> SubmissionSettings:
    """The settings of the default client, of either kind, for its submissions. It is not connected.

    Raises:
        AddressError: GEARMAN_SERVERS is not a list of addresses.
    """
    return (_chosen or _otherwise).submissions()


def _no_client() -> AnyClient:
    raise ArgumentError("the default client is an AsyncClient, and this call blocks: set_default_servers is for both")


def _no_async_client() -> AnyAsyncClient:
    raise ArgumentError("the default client is a Client, whose calls block: set_default_servers is for both kinds")
