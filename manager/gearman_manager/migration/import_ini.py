"""Turns GearmanManager's ini file into our YAML: keys become their twins, and a comment explains each key without one.

The numbers of processes are kept, so that the first day brings no surprise; comments suggest what to loosen. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from gearman_manager.config.error import ConfigError
from gearman_manager.config.problem import Problem
from gearman_manager.migration.imported_yaml import ALL, FunctionNumbers, Settings, yaml_lines
from gearman_manager.migration.ini_file import IniEntry, IniSection, parse_ini

_GLOBAL: Final = "gearmanmanager"
_DEFAULT_LIFETIME_S: Final = 3600
_DEFAULT_STOP_S: Final = 60

#: The reasons why keys have no twin, or need no line in our file.
_GLOBAL_NOTES: Final = {
    "auto_update": "changed files are always noticed, and only the workers they concern restart",
    "worker_restart_splay": "lifetimes are spread by themselves",
    "worker_initial_spawn_splay": "workers start at once: the job server does not mind",
    "prefix": "functions and classes whose names end with the file's name are found with any prefix or namespace",
    "pid_file": "the pid file is gearman-manager.pid in run_dir; or start with -P FILE",
    "daemon": "start it with -d, or with the files for systemd and SysV in init",
}
_FUNCTION_NOTES: Final = {
    "priority": "workers ask for all their functions alike: give what is urgent a pool of its own",
}
_GLOBAL_KEYS: Final = frozenset(
    {
        *("worker_dir", "include", "exclude", "count", "dedicated_count", "max_worker_lifetime", "timeout"),
        *("max_runs_per_worker", "log_file", "user", "host", "verbose", "graceful_shutdown_wait_time"),
    }
)
_FUNCTION_KEYS: Final = frozenset({"count", "dedicated_count", "dedicated_only", "timeout"})


def import_ini(text: str, file: str) -> str:
    """The YAML for the text of an ini file; `file` is its name in messages.

    Raises:
        ConfigError: with all mistakes in the text.
    """
    sections = parse_ini(text, file)
    whole = next((section for section in sections if section.name.lower() == _GLOBAL), None)
    if whole is None:
        raise ConfigError([Problem(file, 0, "", "the section [GearmanManager] is missing: is this its ini file?")])
    reader = _IniReader(file)
    settings = reader.settings(whole, [section for section in sections if section is not whole])
    if reader.problems:
        raise ConfigError(reader.problems)
    return "\n".join(yaml_lines(settings, reader.notes, file)) + "\n"


class _IniReader:
    """Reads the sections, and collects problems and notes on keys without a twin."""

    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._file = file

    def settings(self, whole: IniSection, others: list[IniSection]) -> Settings:
        """All settings, in our terms."""
        self._note_keys(whole, _GLOBAL_KEYS, _GLOBAL_NOTES)
        include = _listed(whole.text("include"))
        settings = Settings(
            workers_dir=_listed(whole.text("worker_dir")) or ["./workers"],
            servers=list(dict.fromkeys(map(_server, _listed(whole.text("host")) or ["127.0.0.1"]))),
            include=[] if "*" in include else include,
            exclude=_listed(whole.text("exclude")),
            defaults={},
            all_count=self._number(whole, "count") or 0,
            functions=[],
            user=whole.text("user"),
        )
        self._defaults(whole, settings)
        self._log(whole, settings)
        dedicated = self._number(whole, "dedicated_count")
        for section in others:
            if self._is_served(section, settings):
                settings.functions.append(self._function(section, settings.all_count, dedicated))
        if settings.all_count and dedicated:
            self.notes.append(
                f"[GearmanManager] dedicated_count = {dedicated}: a function belongs to one pool, so those without a "
                f"section share the pool {ALL}; name a function in a pool of its own to give it workers of its own"
            )
        return settings

    def _defaults(self, whole: IniSection, settings: Settings) -> None:
        own = self._number(whole, "dedicated_count") or 1
        lifetime_s = self._number(whole, "max_worker_lifetime") or _DEFAULT_LIFETIME_S
        stop_s = self._number(whole, "graceful_shutdown_wait_time") or _DEFAULT_STOP_S
        settings.defaults = {"min": str(own), "max": str(own)}
        settings.defaults |= {"max_lifetime": f"{lifetime_s}s", "stop_timeout": f"{stop_s}s"}
        if timeout_s := self._number(whole, "timeout"):
            settings.defaults["timeout"] = f"{timeout_s}s"
        if max_jobs := self._number(whole, "max_runs_per_worker"):
            settings.defaults["max_jobs"] = str(max_jobs)

    def _log(self, whole: IniSection, settings: Settings) -> None:
        log_file, verbose = whole.text("log_file"), whole.text("verbose")
        if log_file is not None:
            settings.log["file"] = log_file
        if verbose is not None:
            settings.log["level"] = "debug" if verbose.count("v") >= 3 or verbose in ("4", "5") else "info"

    def _function(self, section: IniSection, all_count: int, dedicated: int | None) -> FunctionNumbers:
        """A function's numbers. GearmanManager counts all processes that can do the function, those of `count` too."""
        self._note_keys(section, _FUNCTION_KEYS, _FUNCTION_NOTES)
        timeout_s = self._number(section, "timeout")
        own = self._number(section, "dedicated_count")
        if section.text("dedicated_only") not in (None, "0"):
            if not own:
                line = section.entries["dedicated_only"].line
                self._wrong(line, f"{section.name}.dedicated_only", "needs a dedicated_count of 1 or more beside it")
            return FunctionNumbers(section.name, own or 1, own or 1, timeout_s)
        least = max(self._number(section, "count") or 1, all_count)
        able = max(least, all_count + (own or dedicated or 0))
        if not all_count:
            return FunctionNumbers(section.name, able, able, timeout_s)
        if own is None and able == all_count + (dedicated or 0):
            return FunctionNumbers(section.name, 0, 0, timeout_s)  # it asks for no process of its own
        return FunctionNumbers(section.name, able - all_count, able, timeout_s)

    def _is_served(self, section: IniSection, settings: Settings) -> bool:
        """Whether a section's function runs: our configuration refuses keys for others, GearmanManager ignored them."""
        name = section.name
        if ":" in name:
            self.notes.append(
                f"[{name}] (line {section.line}) is for one machine alone: write {_contents(section)} "
                "into that machine's own file"
            )
            return False
        left_out = name in settings.exclude or (settings.include and name not in settings.include)
        if left_out:
            self.notes.append(f"[{name}] (line {section.line}): the function is left out by include or exclude")
        return not left_out

    def _note_keys(self, section: IniSection, known: frozenset[str], notes: dict[str, str]) -> None:
        for key, entry in section.entries.items():
            if key in notes:
                self.notes.append(f"[{section.name}] {_written(entry)}: {notes[key]}")
            elif key not in known:
                self.notes.append(f"[{section.name}] {_written(entry)}: no key of GearmanManager that is known here")

    def _number(self, section: IniSection, key: str) -> int | None:
        text = section.text(key)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]{1,9}", text):
            line = section.entries[key].line
            self._wrong(line, f"{section.name}.{key}", f"a whole number is expected, not {text!r}")
            return None
        return int(text)

    def _wrong(self, line: int, key: str, message: str) -> None:
        problem = Problem(self._file, line, key, message)
        if problem not in self.problems:
            self.problems.append(problem)


def _listed(text: str | None) -> list[str]:
    return [part for part in (piece.strip() for piece in (text or "").split(",")) if part]


def _server(host: str) -> str:
    return host if ":" in host else f"{host}:4730"


def _written(entry: IniEntry) -> str:
    return f"{entry.key} = {entry.text} (line {entry.line})"


def _contents(section: IniSection) -> str:
    return ", ".join(f"{key} = {entry.text}" for key, entry in section.entries.items()) or "nothing"
