"""Has a zygote load the modules. If a module ends the zygote, the next one leaves this module out and reports it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import gevent

from gearman_manager.bridge.order import is_php_file
from gearman_manager.config import Config, FoundFunction, Layout, Problem, lay_out
from gearman_manager.errors import ManagerError, StartError
from gearman_manager.host.process import describe_status
from gearman_manager.pools.pool_order import CodeFiles
from gearman_manager.pools.zygote_process import LOAD_TIMEOUT_S, ZygoteProcess

_log = logging.getLogger("reload")
#: The number of modules that may end a zygote in one load; after more of them nothing is loaded.
MAX_CULPRITS: Final = 20
#: The most names in a line about what was passed over.
_NAMES_SHOWN: Final = 20
#: A load during which files change is repeated after a pause, up to this time: some modules write files at import.
UNSETTLED_S: Final = 0.5
MAX_UNSETTLED_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Host:
    """The machine's facts: its number of processors, and a function that puts an exit status into words."""

    cores: int
    describe: Callable[[int | None], str] = describe_status


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """The functions, errors and files that a zygote found when it loaded the modules."""

    found: tuple[FoundFunction, ...]
    errors: tuple[Problem, ...]
    files: CodeFiles
    #: Files and folders that look like something else than worker modules, and why.
    passed_over: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> LoadedCode:
        """Read the zygote's message."""
        return cls(
            found=tuple(
                FoundFunction(f["name"], f["file"], f["line"], f["options"], f["is_async"], f["parameters"])
                for f in report["functions"]
            ),
            errors=tuple(
                Problem(e["file"], e["line"], "", e["message"], is_fatal=False, modules=tuple(e["modules"]))
                for e in report["errors"]
            ),
            files=CodeFiles(report["hashes"], report["needs"]),
            passed_over=report["passed_over"],
        )

    @property
    def unloaded(self) -> list[str]:
        """The files of the modules that could not be loaded."""
        return [file for error in self.errors for file in error.modules or (error.file,)]

    def passed_over_in(self, folders: Sequence[str]) -> Iterator[str]:
        """A line for each folder in which something was not searched for functions: a user may miss one there."""
        for folder in folders:
            inside = {path: why for path, why in self.passed_over.items() if path.startswith(f"{folder}/")}
            names = [f"{os.path.relpath(path, folder)} ({why})" for path, why in inside.items()]
            if names:
                more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
                yield f"{folder}: passed over {', '.join(names[:_NAMES_SHOWN])}{more}"

    def broken_since(self, older: LoadedCode) -> list[Problem]:
        """The errors in files that the older code could use: for its functions, as its hooks or as a package.

        The error of a whole workers folder, which may be away for a moment only, is one in all its files.
        """
        used = {function.file for function in older.found} | (older.files.hashes.keys() - set(older.unloaded))
        return [
            error
            for error in self.errors
            if not used.isdisjoint((error.file, *error.modules))
            or any(file.startswith(f"{error.file}/") for file in used)
        ]

    def without(self, culprits: Mapping[str, Problem]) -> LoadedCode:
        """Add the errors of modules that ended their zygote."""
        if not culprits:
            return self
        # Each file counts as needed by itself alone, so that a change of it restarts no other pool.
        files = replace(self.files, needs={**self.files.needs, **{file: [file] for file in culprits}})
        return replace(self, errors=(*self.errors, *culprits.values()), files=files)


class LoadAbandoned(ManagerError):
    """A load was not finished, because another one is wished for."""


class CodeLoader:
    """Starts zygotes until one has loaded every module that can be loaded."""

    def __init__(
        self, start: Callable[[], ZygoteProcess], host: Host, slow: Callable[[Problem], None] = lambda _problem: None
    ) -> None:
        """`slow` is told of a module whose import takes long."""
        self._start = start
        self._host = host
        self._slow = slow
        self._zygote: ZygoteProcess | None = None
        self._has_given_up = False
        self._is_abandoned = False

    def give_up(self) -> None:
        """End the zygote that is loading, and start no other: the manager stops."""
        self._has_given_up = True
        if self._zygote is not None:
            self._zygote.kill()

    def abandon(self) -> None:
        """End the load that goes on, if there is one: it need not be finished, because another one follows."""
        if self._zygote is not None:
            self._is_abandoned = True
            self._zygote.kill()

    @property
    def zygote(self) -> ZygoteProcess | None:
        """The zygote that is loading."""
        return self._zygote

    def load(self, config: Config) -> tuple[ZygoteProcess | None, LoadedCode]:
        """A zygote with the modules loaded, or none with the reason among the errors.

        Raises:
            StartError: no process can be started.
            LoadAbandoned: `abandon` was called.
        """
        self._is_abandoned = False
        began = time.monotonic()
        culprits: dict[str, Problem] = {}
        left_out: set[str] = set()
        code: LoadedCode | None = None  # as the first zygote finds it, which imports everything
        while True:
            zygote, report = self._try(config, left_out | culprits.keys())
            if self._has_given_up:
                raise StartError("stopped while the modules were being loaded")
            if self._is_abandoned:
                zygote.kill()
                raise LoadAbandoned("the code or the wish has changed")
            if report is None:
                problem = _blame(config, zygote, self._host.describe(zygote.status))
                if not zygote.loading or len(culprits) >= MAX_CULPRITS:
                    return None, LoadedCode((), (problem,), CodeFiles({}, {}))
                culprits[zygote.loading] = problem
                continue
            if not report["is_settled"] and time.monotonic() < began + MAX_UNSETTLED_S:
                _log.info("files changed during the load, which begins anew: half a change is no code to run")
                zygote.kill()
                gevent.sleep(UNSETTLED_S)
                code, left_out = None, set()
                continue
            code = code or LoadedCode.from_report(report)
            # Again for each module left out: others may import the same helper, which leaves the same behind.
            more = self._imported_after_fork(config, code, report["tainted"]) - left_out
            if not more:
                return zygote, code.without(culprits)
            left_out |= more
            zygote.kill()  # threads left behind by its imports may keep it from ending by itself

    def _try(self, config: Config, without: Collection[str]) -> tuple[ZygoteProcess, Mapping[str, Any] | None]:
        zygote = self._zygote = self._start()
        try:
            report = zygote.load(
                config.workers_dir, without, lambda seconds: self._report_slow(config, zygote, seconds)
            )
        finally:
            self._zygote = None
        if report is None:
            zygote.kill()
            zygote.wait_for_end()
        return zygote, report

    def _report_slow(self, config: Config, zygote: ZygoteProcess, seconds: float) -> None:
        what = "the import of this module" if zygote.loading else "the start of the zygote"
        until = f"it is given up after {LOAD_TIMEOUT_S:g} s, or when the code changes"
        place = (zygote.loading, 1) if zygote.loading else (config.places.main_file, 0)
        problem = Problem(*place, "", f"{what} still goes on after {seconds:g} s; {until}", is_fatal=False)
        _log.warning("%s", problem)
        self._slow(problem)

    def _imported_after_fork(self, config: Config, code: LoadedCode, tainted: Mapping[str, str]) -> set[str]:
        """The files that the zygote must not import: those that survive no fork, and those for no forked worker."""
        for file, left in tainted.items():
            _log.warning("%s leaves %s behind when it is imported: each worker imports it for itself", file, left)
        layout = self.lay_out(config, code)
        forked = {
            name for name, pool in layout.pools.items() if pool.preload and (pool.concurrency == 1 or pool.is_async)
        }
        preloaded = {f.file for f in layout.functions.values() if f.pool in forked}
        others = {f.file for f in layout.functions.values() if f.pool not in forked}
        return tainted.keys() | {file for file in others - preloaded if not is_php_file(file)}

    def lay_out(self, config: Config, code: LoadedCode) -> Layout:
        """The pools and functions that run with this code."""
        return lay_out(config, code.found, self._host.cores, code.unloaded)


def _blame(config: Config, zygote: ZygoteProcess, end: str) -> Problem:
    """The problem that kept the zygote from its report: the module that it was importing, if that is known."""
    how = f"ended its process ({end})"
    if zygote.took_too_long:
        how = f"was not done after {LOAD_TIMEOUT_S:g} s"
    if zygote.loading:
        return Problem(zygote.loading, 1, "", f"the import of this module {how}", is_fatal=False)
    words = zygote.output.last_lines
    said = f": {words[-1]}" if words else ""
    message = f"the modules could not be loaded: the zygote {how}{said}"
    return Problem(config.places.main_file, 0, "workers_dir", message)
