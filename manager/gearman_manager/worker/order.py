"""The supervisor's order for a worker process: its name, slots, servers, functions and limits. Pure.

The supervisor's `PoolOrder.for_worker` makes the same `Order` that the worker gets. On its way, over the zygote's
channel or in a file, it is JSON: `to_message` writes it, `from_message` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final
from zlib import crc32

from gearman_client.address import Address
from gearman_client.tls import Tls
from gearman_manager.privacy import FunctionPrivacy

#: In the environment of every worker, and so of all programs that it starts.
CLIENT_ID_VARIABLE: Final = "GEARMAN_CLIENT_ID"
#: From here on the numbers of job servers that are not in the worker's list, but of which those have told.
LEARNED_SERVERS: Final = 128


def learned_number(server: Address) -> int:
    """The number of such a server, by its address. Two of them may have the same."""
    return LEARNED_SERVERS + crc32(str(server).encode()) % (256 - LEARNED_SERVERS)


@dataclass(frozen=True, slots=True)
class OrderedFunction:
    """A function that the worker has to serve."""

    registered: str  #: the name on the job server, including the prefix
    name: str
    file: str
    timeout_s: float | None
    settings: Mapping[str, Any]
    batch: int | None = None  #: the most jobs of one call, if it takes a list of them
    linger_s: float = 0.0
    redact: tuple[str, ...] = ()  #: rules for keys whose values no error may tell
    redacted_places: tuple[int, ...] = ()  #: of a task's arguments, as well
    shows_workloads: bool = True  #: else no value of a workload may

    @property
    def privacy(self) -> FunctionPrivacy:
        """What of its jobs may leave the worker with an error."""
        return FunctionPrivacy(self.redact, self.shows_workloads, frozenset(self.redacted_places))


@dataclass(frozen=True, slots=True)
class Order:
    """All instructions of the supervisor to a worker."""

    name: str  #: POOL/N
    client_id: str
    slot: int  #: its own in the scoreboard
    servers: tuple[Address, ...]
    functions: tuple[OrderedFunction, ...]
    max_jobs: int | None
    max_memory_bytes: int | None
    nice: int
    prefetch: int = 1  #: the number of jobs that it fetches at once
    return_key: str = ""  #: the supervisor's secret for giving back those that it has not begun

    is_async: bool = False  #: an asyncio loop runs its functions

    # Only for a worker that runs several jobs at once, or has an asyncio loop.
    job_slots: tuple[int, ...] = ()  #: they follow its own slot

    # Only for a worker of greenlets, which loads the code itself.
    folders: tuple[str, ...] = ()  #: of the modules
    log_level: str = "INFO"

    spans: str = ""  #: the socket to which the spans of its jobs go; empty: none are wanted

    def to_message(self) -> dict[str, Any]:
        """The order as JSON values."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Order:
        """The order from a message of `to_message`; other keys of the message are ignored."""
        values = {field.name: message[field.name] for field in fields(cls)}
        values["servers"] = tuple(map(_server, message["servers"]))
        values["functions"] = tuple(map(_function, message["functions"]))
        values["job_slots"] = tuple(message["job_slots"])
        values["folders"] = tuple(message["folders"])
        return cls(**values)

    @property
    def takes_sets(self) -> bool:
        """Whether the worker gets several jobs at once, or a list of them for one call."""
        return self.prefetch > 1 or any(function.batch is not None for function in self.functions)

    @property
    def prefix(self) -> str:
        """The prefix of the manager's functions."""
        return next((each.registered.removesuffix(each.name) for each in self.functions), "")

    @property
    def title(self) -> str:
        """The process title."""
        return f"gearman-manager: worker {self.name} {','.join(function.registered for function in self.functions)}"


def _function(message: Mapping[str, Any]) -> OrderedFunction:
    lists = {name: tuple(message[name]) for name in ("redact", "redacted_places")}
    return OrderedFunction(**{**message, **lists})


def _server(message: Mapping[str, Any]) -> Address:
    tls = message["tls"]
    return Address(message["host"], message["port"], None if tls is None else Tls(**tls))
