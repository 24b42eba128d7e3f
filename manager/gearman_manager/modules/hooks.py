"""The hooks of `_hooks.py` in a workers folder, called around a worker's life and around each job.

The file may define `worker_start()`, `job_start(job)`, `job_end(job, error)` and `worker_stop()`, for database
connections, error trackers and the like. It is loaded with the modules; its hooks are called in the worker process.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from gearman_manager.errors import ModuleError
from gearman_manager.job import Job
from gearman_manager.modules.signatures import problem_with_hook

FILE_NAME: Final = "_hooks.py"
#: The hooks, and the arguments that they get.
NAMES: Final = {"worker_start": (), "job_start": ("job",), "job_end": ("job", "error"), "worker_stop": ()}
#: From this likeness on, of 0 to 1, a name is taken for a misspelt hook.
_ALMOST: Final = 0.8
_log = logging.getLogger("hooks")

Hook = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of all folders, in the order of the folders; `job_end` and `worker_stop` run in the opposite order."""

    found: tuple[dict[str, Hook], ...] = ()

    @classmethod
    def of(cls, modules: Iterable[tuple[Path, ModuleType]]) -> tuple[Hooks, list[ModuleError]]:
        """The hooks of loaded `_hooks.py` files, and the errors of those that can't be called, or are misspelt."""
        found, errors = [], []
        for file, module in modules:
            hooks = {name: getattr(module, name) for name in NAMES if hasattr(module, name)}
            for name, hook in hooks.items():
                if problem := problem_with_hook(hook, name, NAMES[name]):
                    errors.append(ModuleError(str(file), _line_of(hook), problem))
            errors += _misspelt(file, module)
            found.append({name: hook for name, hook in hooks.items() if callable(hook)})
        return cls(tuple(found)), errors

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


def _misspelt(file: Path, module: ModuleType) -> Iterator[ModuleError]:
    """Functions that are named almost like a hook that is missing."""
    missing = [name for name in NAMES if not hasattr(module, name)]
    for name, value in vars(module).items():
        is_own = callable(value) and getattr(value, "__module__", None) == module.__name__ and name not in NAMES
        nearest = difflib.get_close_matches(name.lower(), missing, n=1, cutoff=_ALMOST) if is_own else []
        if nearest:
            message = f"{name} is no hook, did you mean {nearest[0]}? (A helper can be called _{name}.)"
            yield ModuleError(str(file), _line_of(value), message)


def _line_of(hook: object) -> int:
    return int(getattr(getattr(hook, "__code__", None), "co_firstlineno", 1))
