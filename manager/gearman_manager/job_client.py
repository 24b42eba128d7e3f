"""`job.client`: clients of the manager's own job servers, for functions that submit further jobs.

Each process has one of each kind, made at the first use. A function may not wait for one of its own pool: if all places
of the pool did so, no place would be left for the jobs that they wait for. Light, because worker modules import
`job.py`: the client library's own clients are loaded when the first is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearman_client.tasks.default_client import DefaultClients, fall_back_to
from gearman_manager.errors import WaitsForItself

if TYPE_CHECKING:
    from gearman_client import Address, AsyncClient, Client

#: How long a call waits if it names no time: functions of several pools that wait for each other end some day.
WAIT_S: Final = 600.0


class _Used(NamedTuple):
    servers: tuple[Address, ...]
    functions: frozenset[str]
    prefix: str


_used: _Used | None = None


def use_servers(servers: Iterable[Address], functions: Iterable[str], prefix: str) -> None:
    """Set the job servers of this process, once; tasks that name no client are sent to them, too.

    functions: the names of the functions that its pool serves, without the prefix.
    prefix: of the manager's functions, put before each name.
    """
    global _used
    _used = _Used(tuple(servers), frozenset(functions), prefix)
    fall_back_to(_clients)


def own_clients() -> DefaultClients:
    """The clients of this process.

    Raises:
        RuntimeError: no manager has started it.
    """
    _servers()
    return _clients


def _servers() -> _Used:
    if _used is None:
        raise RuntimeError("there is no manager whose job servers job.client could use: make a gearman_client.Client")
    return _used


def _make() -> Client[Any, Any]:
    from gearman_client import Client

    servers, functions, prefix = _servers()
    client = Client(servers, timeout_s=WAIT_S, namespace=prefix)
    client.check_waits(_guard(functions))
    return client


def _make_async() -> AsyncClient[Any, Any]:
    from gearman_client import AsyncClient

    servers, functions, prefix = _servers()
    client = AsyncClient(servers, timeout_s=WAIT_S, namespace=prefix)
    client.check_waits(_guard(functions))
    return client


def _guard(own: frozenset[str]) -> Callable[[str], None]:
    def check(function: str) -> None:
        if function in own:
            raise WaitsForItself(
                f"a function can't wait for {function}, which its own pool serves: if all places of the pool waited, "
                f"none would be left for {function}; give that a pool of its own, or submit the job in the background"
            )

    return check


#: Made with the module, so that all workers of a zygote share it as long as they need none.
_clients = DefaultClients(_make, _make_async)
