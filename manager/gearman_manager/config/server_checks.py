"""Rules for the bundled job servers: their stores, and the addresses on which they and the control API listen. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gearman_client.address import MAX_PORT, Address
from gearman_manager.config.address import overlap
from gearman_manager.config.models import Config
from gearman_manager.config.problem import Places, Problem
from gearman_manager.config.server_keys import Server

_SHARED_STORES: Final = "PostgreSQL or MariaDB/MySQL (postgresql+psycopg://… or mysql+pymysql://…)"


def server_problems(config: Config, places: Places, broken: frozenset[str]) -> Iterator[Problem]:
    """The problems between the keys of `server`, and with `control.listen`. Keys in `broken` were refused already."""
    rules = _Rules(config, places, broken)
    if config.server is not None:
        yield from rules.store(config.server)
        yield from rules.ports(config.server)
    yield from rules.listening()


class _Listening(NamedTuple):
    """An address to listen on, with its key, its entry in a list, and the number of the job server among several."""

    key: str
    entry: str
    address: Address
    instance: int = 0

    @property
    def of_instance(self) -> str:
        return f" for job server {self.instance}" if self.instance else ""


class _Rules:
    def __init__(self, config: Config, places: Places, broken: frozenset[str]) -> None:
        self._config = config
        self._places = places
        self._broken = broken

    def store(self, server: Server) -> Iterator[Problem]:
        """Which store can be shared: several servers need one that can, and only a cluster shares it."""
        if self._broken & {"server.store", "server.cluster", "server.instances"}:
            return
        kind = server.store.partition(":")[0]
        if server.cluster is not None and kind in ("memory", "sqlite"):
            what = "memory belongs to one job server" if kind == "memory" else "a SQLite file belongs to one job server"
            message = f"a cluster shares a database, and {what}: set server.store to {_SHARED_STORES}"
            yield self._places.problem("server.cluster", message)
        elif server.instances > 1 and kind == "sqlite":
            message = (
                f"a SQLite file belongs to one job server, not to {server.instances}: set server.store to "
                f"{_SHARED_STORES}, with server.cluster, or leave instances out"
            )
            yield self._places.problem("server.instances", message)
        elif server.are_independent and kind != "memory":
            message = "several job servers on one database are a cluster: name it, as in cluster: {name: shop}"
            yield self._places.problem("server.instances", message)
        if server.cluster is not None and server.cluster.announce is not None and not server.listen[0].port:
            message = "only a fixed port can be announced: choose that of the first address in server.listen"
            yield self._places.problem("server.cluster.announce", message)

    def ports(self, server: Server) -> Iterator[Problem]:
        """Ports of further instances that do not exist."""
        last = MAX_PORT - server.instances + 1
        metrics = () if server.metrics_listen is None else (("server.metrics_listen", server.metrics_listen),)
        for key, address in (*(("server.listen", each) for each in server.listen), *metrics):
            if address.port > last and not self._broken & {key, "server.instances"}:
                message = (
                    f"{server.instances} job servers need as many ports from {address.port} up: choose {last} at most"
                )
                yield self._places.problem(key, message)

    def listening(self) -> Iterator[Problem]:
        """Addresses that can't be listened on together. Of several clashes of one entry only the first is told."""
        taken: list[_Listening] = []
        told: set[str] = set()
        for one in self._listened_on():
            rival = next((other for other in taken if overlap(one.address, other.address)), None)
            message = self._in_the_way(one, rival) if rival is not None else _needless_freedom(one)
            if message and one.entry not in told:
                told.add(one.entry)
                yield self._places.problem(one.key, message, at=one.entry)
            taken.append(one)

    def _listened_on(self) -> Iterator[_Listening]:
        if self._config.server is not None:
            yield from self._of_servers(self._config.server)
        control = self._config.control
        if control.listen is not None and "control.listen" not in self._broken:
            yield _Listening("control.listen", "control.listen", control.listen)

    def _of_servers(self, server: Server) -> Iterator[_Listening]:
        """The addresses of the first instance come first: its own clashes are those of the configuration's text."""
        for number, instance in enumerate(server.listening, 1):
            shown = number if server.instances > 1 else 0
            if "server.listen" not in self._broken:
                for index, address in enumerate(instance.jobs):
                    yield _Listening("server.listen", f"server.listen[{index}]", address, shown)
            if instance.metrics is not None and "server.metrics_listen" not in self._broken:
                yield _Listening("server.metrics_listen", "server.metrics_listen", instance.metrics, shown)

    def _in_the_way(self, one: _Listening, rival: _Listening) -> str:
        if one.key == rival.key and one.instance == rival.instance:
            return f"{one.address} can't be listened on beside {rival.address}: one of them is enough"
        at = f" (at {self._places.find(rival.entry)})" if rival.key in self._places else ""
        taken = f"{rival.key} is {rival.address} already{rival.of_instance}{at}"
        if one.instance > 1:
            return f"job server {one.instance} would listen on {one.address}, but {taken}: choose another port"
        return f"{taken}: choose another port"


def _needless_freedom(one: _Listening) -> str:
    if one.key != "server.listen" or one.entry == "server.listen[0]" or one.address.port:
        return ""
    return "only the port of the first address can be any free one: choose one, such as 4730"
