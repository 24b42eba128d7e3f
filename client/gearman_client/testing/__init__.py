"""Tests of programs that submit jobs: a job server in the process of the test, or a real one with workers.

In: the functions that do the jobs. Out: the client's own results and errors, and the list of what was submitted.
Open `eager_server.py` first, the object that tests use. Below it: `broker.py` has the rules for jobs, `conversation.py`
speaks packets with one client, `attempt.py` calls a function. `real_server.py` starts a manager instead, and
`plugin.py` has the fixtures of pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gearman_client.testing.attempt import WorkerLost
    from gearman_client.testing.eager_server import EagerServer
    from gearman_client.testing.real_server import RealServer, RealServerError
    from gearman_client.testing.submitted_job import JobState, SubmittedJob
    from gearman_client.testing.time_limit import JobTimeout

__all__ = ["EagerServer", "JobState", "JobTimeout", "RealServer", "RealServerError", "SubmittedJob", "WorkerLost"]

#: Imported when they are first used: pytest imports this package for every suite, for its fixtures.
_LATER: Final = {
    "EagerServer": "eager_server",
    "JobState": "submitted_job",
    "JobTimeout": "time_limit",
    "RealServer": "real_server",
    "RealServerError": "real_server",
    "SubmittedJob": "submitted_job",
    "WorkerLost": "attempt",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LATER.keys())
