"""Which code runs: one zygote per generation, replaced when the code changed, kept when the new code can't be loaded.

A zygote that dies is replaced too; when the files are still the same its successor carries on the same generation, and
no worker notices.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import gevent.lock

from gearman_manager.bridge.order import is_php_file
from gearman_manager.config import Config, ConfigError, FoundFunction, Layout, Problem, lay_out, unavailable_keys
from gearman_manager.orders import CodeFiles
from gearman_manager.process import describe_status
from gearman_manager.workforce import Workforce
from gearman_manager.zygote_process import Inherited, ZygoteProcess

_log = logging.getLogger("reload")
_FIRST_RETRY_S: Final = 0.05
_MAX_RETRY_S: Final = 30.0
_QUIET_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Code:
    """What a zygote found when it loaded the modules."""

    found: tuple[FoundFunction, ...]
    errors: tuple[Problem, ...]
    files: CodeFiles

    @classmethod
    def from_report(cls, report: Mapping[str, Any]) -> "Code":
        """Read the zygote's message."""
        return cls(
            found=tuple(FoundFunction(f["name"], f["file"], f["line"], f["options"]) for f in report["functions"]),
            errors=tuple(Problem(e["file"], e["line"], "", e["message"], fatal=False) for e in report["errors"]),
            files=CodeFiles(report["hashes"], report["needs"]),
        )

    def broken_since(self, older: "Code") -> list[Problem]:
        """The errors in files that the older code could still serve functions from."""
        served = {function.file for function in older.found}
        return [error for error in self.errors if error.file in served]


@dataclass(slots=True)
class Accepted:
    """The generation that runs."""

    number: int
    config: Config
    code: Code
    layout: Layout


@dataclass(slots=True)
class Generations:
    """Starts zygotes and decides whether their code takes over. Implements `ZygoteEvents`."""

    inherited: Inherited
    workforce: Workforce
    cores: int
    accepted: Callable[[Accepted], None]  # called for each generation that takes over, before its workers start
    zygote: ZygoteProcess | None = None
    current: Accepted | None = None
    errors: Sequence[Problem] = ()
    _config: Config | None = None
    _stopping: bool = False
    _busy: gevent.lock.RLock = field(default_factory=gevent.lock.RLock)
    _retry_s: float = _FIRST_RETRY_S
    _born_at: float = 0.0

    def load_first(self, config: Config) -> None:
        """Load the code for the first time. Modules that can't be loaded are noted, the others run.

        Raises:
            ConfigError: configuration and code do not fit.
        """
        self._config = config
        with self._busy:
            zygote, code = self._load(config)
            self._take_over(zygote, code, config)

    def reload(self, config: Config) -> bool:
        """Load anew; the old generation stays, and says why, when the new one is broken."""
        with self._busy:
            zygote, code = self._load(config)
            broken = code.broken_since(self.current.code) if self.current else []
            if zygote is None or broken:
                self._keep_old(zygote, code)
                return False
            try:
                self._take_over(zygote, code, config)
            except ConfigError as error:
                self._keep_old(zygote, code, error.problems)
                return False
            return True

    def stop(self) -> None:
        """No workers are left to fork."""
        self._stopping = True
        if self.zygote is not None:
            self.zygote.dismiss()

    def spawned(self, name: str, pid: int, pidfd: int) -> None:
        """Passed on."""
        self.workforce.spawned(name, pid, pidfd)

    def spawn_failed(self, name: str, reason: str) -> None:
        """Passed on."""
        self.workforce.spawn_failed(name, reason)

    def exited(self, pid: int, status: int) -> None:
        """Passed on."""
        self.workforce.exited(pid, status)

    def zygote_gone(self, zygote: ZygoteProcess, status: int | None) -> None:
        """A dismissed one has ended, or the current one died and needs a successor."""
        if zygote is not self.zygote:
            return
        self.zygote = None
        self.workforce.zygote_lost()
        if not self._stopping:
            _log.error("the zygote died (%s); its workers go on, a new one starts", describe_status(status))
            gevent.spawn(self._succeed)

    def _succeed(self) -> None:
        """Replace a zygote that died, ever more slowly while its successors die too."""
        if time.monotonic() - self._born_at > _QUIET_S:
            self._retry_s = _FIRST_RETRY_S
        while self.zygote is None and not self._stopping:
            with self._busy:
                if self.zygote is None and self.current is not None:
                    self._try_to_succeed(self.current)
            if self.zygote is None:
                gevent.sleep(self._retry_s)
                self._retry_s = min(self._retry_s * 2, _MAX_RETRY_S)

    def _try_to_succeed(self, current: Accepted) -> None:
        zygote, code = self._load(current.config)
        if zygote is None:
            return
        if code.files == current.code.files:
            self.zygote = zygote
            _log.info("a new zygote takes over generation %d", current.number, extra={"pid": zygote.pid})
            self.accepted(current)
            return
        broken = code.broken_since(current.code)
        try:
            if broken:
                raise ConfigError(broken)
            self._take_over(zygote, code, current.config)
        except ConfigError as error:
            self._keep_old(zygote, code, error.problems)

    def _load(self, config: Config) -> tuple[ZygoteProcess | None, Code]:
        """A zygote with the modules loaded, or none with the reason among the errors."""
        zygote, report = self._start_zygote(config, ())
        if report is None:
            return None, self._not_loaded(config, zygote)
        code = Code.from_report(report)
        late = self._imported_after_fork(config, code, report["tainted"])
        if late:
            zygote.kill()  # what was left behind in it may not let it end by itself
            zygote, report = self._start_zygote(config, late)
            if report is None:
                return None, self._not_loaded(config, zygote)
        return zygote, code

    def _start_zygote(self, config: Config, without: Collection[str]) -> tuple[ZygoteProcess, Mapping[str, Any] | None]:
        self._born_at = time.monotonic()
        zygote = ZygoteProcess(self.inherited, config.log.level.upper(), self)
        return zygote, zygote.load(config.workers_dir, without)

    def _imported_after_fork(self, config: Config, code: Code, tainted: Mapping[str, str]) -> set[str]:
        """The files that the zygote has to leave out: what no fork survives, and what is not to be shared."""
        for file, left in tainted.items():
            _log.warning("%s leaves %s behind when it is imported: each worker imports it for itself", file, left)
        layout = lay_out(config, code.found, self.cores, [error.file for error in code.errors])
        preloaded = {f.file for f in layout.functions.values() if layout.pools[f.pool].preload}
        others = {f.file for f in layout.functions.values() if not layout.pools[f.pool].preload}
        return tainted.keys() | {file for file in others - preloaded if not is_php_file(file)}

    def _not_loaded(self, config: Config, zygote: ZygoteProcess) -> Code:
        zygote.kill()
        words = zygote.output.last_lines
        reason = f"ended: {words[-1]}" if words else "ended, or took too long, without a word"
        message = f"the modules could not be loaded: the zygote {reason}"
        problem = Problem(config.places.main_file, 0, "workers_dir", message, fatal=True)
        return Code((), (problem,), CodeFiles({}, {}))

    def _take_over(self, zygote: ZygoteProcess | None, code: Code, config: Config) -> None:
        """Make this the generation that runs.

        Raises:
            ConfigError: configuration and code do not fit; nothing was changed but the new zygote's life.
        """
        layout = lay_out(config, code.found, self.cores, [error.file for error in code.errors])
        problems = [*code.errors, *layout.problems]
        fatal = [problem for problem in problems if problem.fatal]
        if zygote is None or fatal:
            if zygote is not None:
                zygote.dismiss()
            raise ConfigError(fatal)
        old, self.zygote = self.zygote, zygote
        number = self.current.number + 1 if self.current else 1
        self.current = Accepted(number, config, code, layout)
        self.errors = problems
        for problem in problems:
            _log.error("%s", problem)
        for notice in unavailable_keys(config, code.found):
            _log.warning("%s", notice)
        self.accepted(self.current)
        if old is not None:
            old.dismiss()
        _log.info("generation %d: %s", number, counted(layout))

    def _keep_old(self, zygote: ZygoteProcess | None, code: Code, problems: Sequence[Problem] = ()) -> None:
        self.errors = [*code.errors, *(problem for problem in problems if problem not in code.errors)]
        for problem in self.errors:
            _log.error("%s", problem)
        _log.error("the new code is not used: the old generation goes on until this is mended")
        if zygote is not None:
            zygote.dismiss()


def counted(layout: Layout) -> str:
    """`6 functions in 2 pools`."""
    functions, pools = len(layout.functions), len(layout.pools)
    return f"{functions} function{'s' * (functions != 1)} in {pools} pool{'s' * (pools != 1)}"
