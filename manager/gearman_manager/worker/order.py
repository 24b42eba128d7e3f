"""What a worker process is told and given: its order from the supervisor, the user's code, what all processes share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gearman_client import Address
from gearman_manager.errors import ModuleError
from gearman_manager.ipc.channel import Message
from gearman_manager.modules.discovery import LoadedFunction, load_late
from gearman_manager.modules.hooks import Hooks
from gearman_manager.worker.server_order import from_order

#: In the environment of every worker, and so of all that it starts.
CLIENT_ID_VARIABLE: Final = "GEARMAN_CLIENT_ID"
Functions = dict[tuple[str, str], LoadedFunction]  # by file and name


@dataclass(frozen=True, slots=True)
class UserCode:
    """The user's code, as the zygote loaded it: not at all where each worker imports it for itself."""

    functions: Functions
    hooks: Hooks

    def function(self, ordered: OrderedFunction) -> LoadedFunction:
        """A function; its module is imported now if the zygote left it out.

        Raises:
            ModuleError: that import fails.
        """
        key = ordered.file, ordered.name
        if key not in self.functions:
            self.functions.update({(f.file, f.name): f for f in load_late(ordered.file)})
        if key not in self.functions:
            raise ModuleError(ordered.file, 1, f"holds no function {ordered.name!r} any more")
        return self.functions[key]


@dataclass(frozen=True, slots=True)
class OrderedFunction:
    """One function that a worker is to serve."""

    registered: str  # the name towards Gearman, prefix included
    name: str
    file: str
    timeout_s: float | None
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """All that the supervisor says about a worker to be."""

    name: str  # POOL/N
    slot: int
    client_id: str
    servers: tuple[Address, ...]
    functions: tuple[OrderedFunction, ...]
    max_jobs: int | None
    max_memory_bytes: int | None
    nice: int

    @classmethod
    def from_message(cls, message: Message) -> Order:
        """Read it from the supervisor's message."""
        return cls(
            name=message["name"],
            slot=message["slot"],
            client_id=message["client_id"],
            servers=tuple(map(from_order, message["servers"])),
            functions=tuple(OrderedFunction(**function) for function in message["functions"]),
            max_jobs=message["max_jobs"],
            max_memory_bytes=message["max_memory_bytes"],
            nice=message["nice"],
        )

    @property
    def title(self) -> str:
        """The process title."""
        return f"gearman-manager: worker {self.name} {','.join(function.registered for function in self.functions)}"
