"""The server's version, in a module of its own: the package and the server tell it, and neither needs the other."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
