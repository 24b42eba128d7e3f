"""The hooks of `_hooks.py` in a workers folder, called around a worker's life and around each job.

The file may define `worker_start()`, `job_start(job)`, `job_end(job, error)` and `worker_stop()`, for database
connections, error trackers and the like. It is loaded with the modules; its hooks are called in the worker process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gearman_manager.errors import ModuleError
from gearman_manager.job import Job

FILE_NAME: Final = "_hooks.py"
NAMES: Final = ("worker_start", "job_start", "job_end", "worker_stop")
_log = logging.getLogger("hooks")

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of all folders, in the order of the folders; `job_end` and `worker_stop` run in the opposite order."""

    found: tuple[dict[str, Hook], ...] = ()

    @classmethod
    def of(cls, modules: Iterable[tuple[Path, object]]) -> Hooks:
        """Take the hooks from loaded `_hooks.py` files.

        Raises:
            ModuleError: one of the names is not callable.
        """
        found = []
        for file, module in modules:
            hooks = {name: getattr(module, name) for name in NAMES if hasattr(module, name)}
            for name, hook in hooks.items():
                if not callable(hook):
                    raise ModuleError(str(file), 1, f"{name} must be a function")
            found.append(hooks)
        return cls(tuple(found))

    def worker_start(self) -> None:
        """The worker process has started, but has not registered yet. An error of a hook ends the worker."""
        for hooks in self.found:
            if "worker_start" in hooks:
                hooks["worker_start"]()

    def job_start(self, job: Job) -> None:
        """A job is about to run. An error of a hook fails the job."""
        for hooks in self.found:
            if "job_start" in hooks:
                hooks["job_start"](job)

    def job_end(self, job: Job, error: BaseException | None) -> None:
        """The job has ended, with `error` if it failed. An error of a hook does not change the job's answer."""
        for hooks in reversed(self.found):
            self._quietly(hooks, "job_end", job, error)

    def worker_stop(self) -> None:
        """The worker has given its last answer."""
        for hooks in reversed(self.found):
            self._quietly(hooks, "worker_stop")

    def _quietly(self, hooks: dict[str, Hook], name: str, *arguments: object) -> None:
        if name not in hooks:
            return
        try:
            hooks[name](*arguments)
        except BaseException:  # noqa: BLE001 (user code, at a boundary: the answer stands)
            _log.exception("the hook %s failed", name)
