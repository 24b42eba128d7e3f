"""The user's code in a worker: functions that its zygote has imported, and those that it imports itself.

If each worker imports for itself, as with `preload: false` or `concurrency`, there are none at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gearman_manager.errors import ModuleError
from gearman_manager.modules.discovery import LoadedFunction, load_file
from gearman_manager.modules.generators import reseed_all
from gearman_manager.modules.hooks import Hooks

Functions = dict[tuple[str, str], LoadedFunction]  #: by file and name


@dataclass(frozen=True, slots=True)
class UserCode:
    """The loaded functions, and the hooks around jobs."""

    functions: Functions
    hooks: Hooks

    def function(self, file: str, name: str) -> LoadedFunction:
        """A function; its module is imported now if the zygote left it out.

        Raises:
            ModuleError: the import fails.
        """
        key = file, name
        if key not in self.functions:
            self.functions.update({(f.file, f.name): f for f in load_file(Path(file))})
            reseed_all()
        if key not in self.functions:
            raise ModuleError(file, 1, f"holds no function {name!r} any more")
        return self.functions[key]
