"""A Gearman job server on gevent: a process of its own, or embedded in a gevent program. It never imports the manager.

`from gearman_server import Server` loads the server; importing the package alone loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gearman_server.server import Server, ServerSettings

__version__ = "0.1.0"
__all__ = ["Server", "ServerSettings", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in ("Server", "ServerSettings"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gearman_server import server

    return getattr(server, name)
