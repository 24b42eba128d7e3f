"""What is wrong, in sentences for people: the list at the top of the overview. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from gearman_manager.config import Problem

Report = dict[str, Any]
#: Work is not done because of it; it may become so; somebody has wished it.
CRITICAL: Final = "critical"
WARNING: Final = "warning"
NOTE: Final = "note"
_ORDER: Final = (CRITICAL, WARNING, NOTE)
#: A pool of which more than this share of the jobs fails, and so many in a minute, is not well.
_FAILING_SHARE: Final = 0.2
_FAILING_A_MINUTE: Final = 5.0


class Health(Protocol):
    """The manager's health, as far as it is told here."""

    @property
    def is_up(self) -> bool:
        """Whether a job server answers and the workers that there must be are there."""

    @property
    def is_healthy(self) -> bool:
        """Whether pools and job servers can do all of their work."""

    @property
    def text(self) -> str:
        """One line."""

    @property
    def waiting(self) -> Sequence[str]:
        """Pools whose `min` workers are not there yet."""

    @property
    def down(self) -> Sequence[str]:
        """Job servers that can't be reached."""

    @property
    def unheard(self) -> Sequence[str]:
        """Job servers of which it is not known yet whether they can be reached."""

    @property
    def troubles(self) -> Mapping[str, str]:
        """Of job servers that answer, but can't do all of their work."""

    @property
    def drain(self) -> str:
        """What is left of a drain; empty while there is none."""


def troubles(health: Health, pools: Iterable[Report], code: Iterable[Problem], log: Mapping[str, str]) -> list[Report]:
    """What is wrong, the worst first: each with `severity`, `kind`, `subject` and `text`. `pools` are those of the
    overview, `code` the modules that can't be loaded, `log` the log files that can't be written."""
    found = [*_of_servers(health), *_of_pools(pools), *_of_code(code)]
    found += [_trouble(WARNING, "log", file, message) for file, message in log.items()]
    if health.drain:
        found.append(_trouble(NOTE, "drain", "", health.drain))
    return sorted(found, key=lambda trouble: _ORDER.index(trouble["severity"]))


def _of_servers(health: Health) -> Iterator[Report]:
    for address in health.down:
        yield _trouble(CRITICAL, "server", address, "the job server does not answer")
    for address, text in health.troubles.items():
        yield _trouble(CRITICAL, "server", address, text)
    for address in health.unheard:
        yield _trouble(WARNING, "server", address, "the job server has not answered yet")


def _of_pools(pools: Iterable[Report]) -> Iterator[Report]:
    for pool in pools:
        name, error = pool["name"], pool["last_error"]
        if pool["state"] == "failing":
            yield _trouble(CRITICAL, "pool", name, error or "no worker stays alive")
        elif pool["state"] == "backing-off":
            yield _trouble(WARNING, "pool", name, error or "workers die too often")
        elif pool["state"] == "paused":
            yield _trouble(NOTE, "pool", name, "paused by hand")
        elif pool["state"] == "running" and pool["ready"] < min(pool["min"], pool["target"]):
            yield _trouble(WARNING, "pool", name, f"{pool['ready']} of {pool['min']} workers are there")
        elif _is_failing_often(pool):
            # Without a number, since each change of the text is an event.
            yield _trouble(WARNING, "failures", name, "more than a fifth of its jobs failed in the last minute")


def _is_failing_often(pool: Report) -> bool:
    failed = pool["failed_per_minute"] or 0.0
    all_jobs = failed + (pool["done_per_minute"] or 0.0)
    return bool(failed >= _FAILING_A_MINUTE and failed > _FAILING_SHARE * all_jobs)


def _of_code(problems: Iterable[Problem]) -> Iterator[Report]:
    for problem in problems:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        yield _trouble(WARNING, "code", place, problem.text)


def _trouble(severity: str, kind: str, subject: str, text: str) -> Report:
    return {"severity": severity, "kind": kind, "subject": subject, "text": text}
