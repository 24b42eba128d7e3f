"""From the queues to the pools' targets: which numbers reach the decisions, and what limits them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from gearman_manager.config import Config, FoundFunction, ResolvedPool, lay_out
from gearman_manager.config.models import Limits
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.pools.pool import Pool
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.neighbours import Peers
from gearman_manager.scaling.queue_dialogue import FunctionQueue


class FakeQueues:
    """Job servers with the queues that a test wants."""

    manager = "here"

    def __init__(self) -> None:
        self.functions: dict[str, FunctionQueue] = {}
        self.peers: Sequence[Peers] = ()
        self.is_reachable = True

    def of(self, function: str) -> FunctionQueue:
        return self.functions.get(function, FunctionQueue())


class FakeWorkforce:
    """Pools without processes; each serves the functions of its settings."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self._settings: Mapping[str, ResolvedPool] = {}

    def use(self, settings: Mapping[str, ResolvedPool]) -> None:
        self._settings = settings
        for name in settings:
            self.pools.setdefault(name, Pool(name)).arrange("version")

    def registered(self, pool: str) -> Sequence[str]:
        return self._settings[pool].functions

    def sums(self, _pool: str) -> tuple[int, int]:
        return 0, 0


class Scaled:
    """An autoscaler over these two."""

    def __init__(self, limits: Mapping[str, Any] | None = None) -> None:
        self.queues = FakeQueues()
        self.workforce = FakeWorkforce()
        guards = HostGuards(Limits.model_validate(limits or {}), Cgroup(()))
        self.autoscaler = Autoscaler(cast(Any, self.workforce), cast(Any, self.queues), guards)

    def arrange(self, max_running: Mapping[str, int] | None = None, **pools: Mapping[str, Any]) -> None:
        config = Config.model_validate({"server": {}, "pools": pools})
        found = [FoundFunction(name, f"workers/{name}.py", 1) for name, pool in pools.items() if "command" not in pool]
        settings = lay_out(config, found, cores=1).pools
        self.workforce.use(settings)
        self.autoscaler.arrange(settings, max_running or {})

    def update(self, now: float = 0.0) -> dict[str, int]:
        """The targets that follow."""
        self.autoscaler.update(now)
        return {name: pool.target for name, pool in self.workforce.pools.items()}


POOL = {"min": 1, "max": 10, "scale": {"backlog_per_worker": 1}}


@pytest.fixture
def scaled() -> Scaled:
    return Scaled()


def test_a_pool_grows_with_the_queues_of_its_functions(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    assert scaled.update() == {"mail": 1}
    scaled.queues.functions["mail"] = FunctionQueue(queued=6, running=1)
    assert scaled.update(1.0) == {"mail": 6}


def test_the_queue_of_another_function_is_no_reason(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.queues.functions["text"] = FunctionQueue(queued=6)
    assert scaled.update() == {"mail": 1}


def test_the_running_jobs_of_a_program_come_with_its_target(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"command": "php mail.php", "functions": ["mail", "sms"]})
    scaled.queues.functions = {"mail": FunctionQueue(running=2), "sms": FunctionQueue(running=3)}
    scaled.update()
    assert scaled.workforce.pools["mail"].running_jobs == 5
    scaled.queues.functions = {}
    scaled.update(1.0)
    assert scaled.workforce.pools["mail"].running_jobs == 0


def test_no_pool_shrinks_while_a_server_is_away(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"scale": {"backlog_per_worker": 1, "cooldown": 0}})
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    scaled.update()
    scaled.queues.functions, scaled.queues.is_reachable = {}, False
    assert scaled.update(10.0) == {"mail": 6}
    scaled.queues.is_reachable = True
    assert scaled.update(20.0) == {"mail": 1}


def test_no_more_workers_start_than_jobs_may_run_at_once(scaled: Scaled) -> None:
    scaled.arrange({"mail": 3}, mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    assert scaled.update() == {"mail": 3}


def test_all_pools_together_stay_within_the_cap(caplog: pytest.LogCaptureFixture) -> None:
    scaled = Scaled({"max_workers": 5})
    scaled.arrange(mail=POOL, text=POOL)
    scaled.queues.functions = {"mail": FunctionQueue(queued=9), "text": FunctionQueue(queued=9)}
    targets = scaled.update()
    assert sum(targets.values()) == 5
    assert "limits.max_workers holds" in caplog.text


def test_two_managers_share_the_work(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=8)
    scaled.queues.peers = [Peers(frozenset({"here", "there"}), {"mail": frozenset({"there"})})]
    assert scaled.update() == {"mail": 4}


def test_a_pool_that_stays_keeps_its_size_through_a_reload(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    scaled.update()
    scaled.queues.functions = {}
    scaled.arrange(mail=POOL, text=POOL)
    assert scaled.update(1.0) == {"mail": 6, "text": 1}
