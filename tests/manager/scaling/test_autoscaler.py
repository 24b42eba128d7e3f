"""From the queues to the pools' targets: which numbers reach the decisions, and what limits them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gearman_manager.config import Config, FoundFunction, ResolvedPool, lay_out
from gearman_manager.config.models import Limits
from gearman_manager.host.cgroup import Cgroup
from gearman_manager.pools.live_worker import LiveWorker
from gearman_manager.pools.pool import Pool, PoolWorker, WorkerEvent
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.everywhere import JOIN_S
from gearman_manager.scaling.host_guards import HostGuards
from gearman_manager.scaling.neighbours import Peers, mark_of
from gearman_manager.scaling.queue_dialogue import FunctionQueue, Hold


class FakeQueues:
    """Job servers with the queues that a test wants."""

    manager = "here"

    def __init__(self) -> None:
        self.functions: dict[str, FunctionQueue] = {}
        self.peers: Sequence[Peers] = ()
        self.announced: list[str] = []
        self.away: Sequence[str] = ()
        self.is_all_pushed = False

    @property
    def heard(self) -> Sequence[Peers]:
        return self.peers

    def announce(self, pools: Iterable[str]) -> None:
        self.announced = list(pools)

    def of(self, function: str) -> FunctionQueue:
        return self.functions.get(function, FunctionQueue())


class FakeWorkforce:
    """Pools without processes; each serves the functions of its settings."""

    def __init__(self) -> None:
        self.pools: dict[str, Pool] = {}
        self.resting: set[str] = set()
        self.settings: dict[str, ResolvedPool] = {}

    def use(self, settings: Mapping[str, ResolvedPool]) -> None:
        self.settings = {**self.settings, **settings}  # the workers of a removed pool keep theirs
        for name in settings:
            self.pools.setdefault(name, Pool(name)).arrange("version")

    def registered(self, pool: str) -> Sequence[str]:
        return self.settings[pool].functions

    def of(self, pool: str) -> Iterable[LiveWorker]:
        return [self._live(worker) for worker in self.pools[pool].workers.values()]

    def _live(self, worker: PoolWorker) -> LiveWorker:
        running = 0 if worker.name in self.resting else 1
        slots = SimpleNamespace(view=lambda: SimpleNamespace(running=running, done=0, failed=0))
        settings = self.settings[worker.name.partition("/")[0]]
        is_program = settings.command is not None
        order = SimpleNamespace(pool=settings)
        live = SimpleNamespace(name=worker.name, worker=worker, order=order, slots=slots, is_program=is_program)
        return cast(LiveWorker, live)

    def busy(self, pool: Pool) -> set[str]:
        return pool.workers.keys() - self.resting

    def sums(self, _pool: str) -> tuple[int, int]:
        return 0, 0


class Scaled:
    """An autoscaler over these two."""

    def __init__(self, limits: Mapping[str, Any] | None = None) -> None:
        self.queues = FakeQueues()
        self.workforce = FakeWorkforce()
        guards = HostGuards(Limits.model_validate(limits or {}), Cgroup(()))
        self.unix_time = 0.0
        self.autoscaler = Autoscaler(
            cast(Any, self.workforce), cast(Any, self.queues), guards, clock=lambda: self.unix_time
        )

    def arrange(self, max_running: Mapping[str, int] | None = None, **pools: Mapping[str, Any]) -> None:
        """The functions of a pool take lists of jobs if it is called so."""
        config = Config.model_validate({"server": {}, "pools": pools})
        found = [
            FoundFunction(name, f"workers/{name}.py", 1, {"batch": 100} if name == "lists" else {})
            for name, pool in pools.items()
            if "command" not in pool
        ]
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


@pytest.mark.parametrize(("name", "keys", "size"), [("mail", {}, 10), ("mail", {"prefetch": 50}, 2), ("lists", {}, 2)])
def test_a_pool_does_not_grow_for_jobs_that_are_in_its_workers_hands(
    scaled: Scaled, name: str, keys: Mapping[str, Any], size: int
) -> None:
    scaled.arrange(**{name: {"min": 1, "max": 10, "scale": {"backlog_per_worker": 100}, **keys}})
    pool = scaled.workforce.pools[name]
    for _ in range(2):
        worker = pool.new_worker(0.0)
        pool.event(worker.name, WorkerEvent.FORKED, 0.0)
        pool.event(worker.name, WorkerEvent.REGISTERED, 0.0)
    scaled.queues.functions[name] = FunctionQueue(running=100, workers=2)
    assert scaled.update() == {name: size}


def test_no_pool_shrinks_while_a_server_is_away(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"scale": {"backlog_per_worker": 1, "cooldown": 0}})
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    scaled.update()
    scaled.queues.functions, scaled.queues.away = {}, ["10.0.0.1:4730"]
    assert scaled.update(10.0) == {"mail": 6}
    scaled.queues.away = ()
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


def test_pools_share_a_budget_by_weight_and_the_log_says_that_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    scaled = Scaled({"budgets": {"smtp": 8}})
    scaled.arrange(mail=POOL | {"uses": {"smtp": 1}, "weight": 3}, news=POOL | {"uses": {"smtp": 1}}, text=POOL)
    scaled.queues.functions = {name: FunctionQueue(queued=9) for name in ("mail", "news", "text")}
    assert scaled.update() == {"mail": 6, "news": 2, "text": 9}
    assert "limits.budgets.smtp holds: no further workers for mail, news" in caplog.text
    pools = scaled.workforce.pools
    bindings = [scaled.autoscaler.decisions(name).entries[-1].last.binding for name in pools]
    assert [step.limit.name for step in bindings if step] == ["limits.budgets.smtp"] * 2
    last = scaled.autoscaler.decisions("mail").last
    assert last is not None
    assert (last.inputs.uses, last.inputs.budgets) == ({"smtp": 1}, {"smtp": 8})
    assert [pools[name].ceiling for name in pools] == [6, 2, None]
    scaled.arrange(mail=POOL | {"uses": {"smtp": 1}}, text=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=3)
    with caplog.at_level("INFO"):
        scaled.update(100.0)
        scaled.update(200.0)
    assert "limits.budgets.smtp holds no longer" in caplog.text


def test_workers_that_leave_use_a_budget_also_those_of_a_removed_pool() -> None:
    scaled = Scaled({"budgets": {"smtp": 8}})
    mail, news = (POOL | {"uses": {"smtp": units}} for units in (1, 2))
    scaled.arrange(mail=mail, news=news)
    for pool in scaled.workforce.pools.values():
        ready(pool, 2)
    scaled.arrange(mail=mail)
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    assert scaled.update()["mail"] == 4
    scaled.workforce.pools["mail"].event("mail/1", WorkerEvent.DRAIN, 0.0)
    assert scaled.update(1.0)["mail"] == 3
    scaled.workforce.pools["news"].event("news/1", WorkerEvent.EXITED, 0.0)
    assert scaled.update(2.0)["mail"] == 5


def test_a_paused_pool_leaves_the_budget_to_others_except_for_its_min() -> None:
    scaled = Scaled({"budgets": {"smtp": 8}})
    scaled.arrange(mail=POOL | {"uses": {"smtp": 1}}, news=POOL | {"uses": {"smtp": 1}})
    scaled.queues.functions = {name: FunctionQueue(queued=9) for name in ("mail", "news")}
    scaled.workforce.pools["news"].pause()
    assert scaled.update()["mail"] == 7
    scaled.workforce.pools["news"].resume()
    assert scaled.update(1.0) == {"mail": 4, "news": 4}


def test_a_pool_has_its_part_of_a_maximum_over_all_managers(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"max_everywhere": 5}, text=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=99)
    assert scaled.queues.announced == ["mail"]
    assert scaled.update()["mail"] == 0
    both = frozenset({"here", "there"})
    scaled.queues.peers = [Peers(both, announced={mark_of("mail"): both})]
    assert scaled.autoscaler.update(1.0) == 1.0 + JOIN_S
    assert scaled.update(1.0 + JOIN_S)["mail"] == 3
    assert scaled.workforce.pools["mail"].ceiling == 3
    step = scaled.autoscaler.decisions("mail").entries[-1].last.binding
    assert step is not None
    assert str(step.limit) == "max_everywhere holds (3 of 5 are this manager's part, with 2 managers)"
    scaled.arrange(mail=POOL, text=POOL)
    assert scaled.update(9.0)["mail"] == 10
    assert scaled.workforce.pools["mail"].ceiling is None


def test_a_pool_knows_its_share_while_there_is_no_room_for_it(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"max_everywhere": 5})
    scaled.queues.functions["mail"] = FunctionQueue(queued=99)
    alone = frozenset({"here"})
    scaled.queues.peers = [Peers(alone, announced={mark_of("mail"): alone})]
    scaled.update()
    assert scaled.update(JOIN_S)["mail"] == 5
    for _ in range(4):
        scaled.workforce.pools["mail"].new_worker(JOIN_S)
    scaled.queues.peers = [Peers()]  # the job server has been started again
    assert scaled.update(10.0)["mail"] == 4
    assert (scaled.workforce.pools["mail"].ceiling, scaled.workforce.pools["mail"].share) == (4, 5)


def test_no_warning_tells_of_the_moment_in_which_managers_get_to_know_each_other(
    scaled: Scaled, caplog: pytest.LogCaptureFixture
) -> None:
    scaled.arrange(mail=POOL | {"max_everywhere": 5})
    scaled.queues.functions["mail"] = FunctionQueue(queued=99)
    scaled.update()
    alone = frozenset({"here"})
    scaled.queues.peers = [Peers(alone, announced={mark_of("mail"): alone})]
    assert scaled.update(1.0)["mail"] == 0
    assert "max_everywhere" not in caplog.text
    assert scaled.update(1.0 + JOIN_S)["mail"] == 5
    assert "max_everywhere holds (5 workers): no further workers for mail" in caplog.text


def test_a_server_that_never_shows_this_manager_is_warned_of_after_that_moment(
    scaled: Scaled, caplog: pytest.LogCaptureFixture
) -> None:
    scaled.arrange(mail=POOL | {"max_everywhere": 5})
    assert scaled.autoscaler.update(0.0) == JOIN_S
    assert "max_everywhere" not in caplog.text
    scaled.update(JOIN_S)
    assert "a job server has yet to show this manager to the others): no further workers for mail" in caplog.text


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


# --- why


def why(scaled: Scaled, pool: str = "mail") -> str:
    """The sentence that holds, with every time of day as T."""
    decision = scaled.autoscaler.decisions(pool).last
    assert decision is not None
    return decision.sentence(lambda _: "T")


def test_max_running_is_a_reason(scaled: Scaled) -> None:
    scaled.arrange({"mail": 3}, mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(waiting=6, running=3)
    assert scaled.update() == {"mail": 3}
    assert why(scaled) == "3 wanted by 1 waiting job per worker, 3 had: max_running holds for mail since T"
    scaled.queues.functions["mail"] = FunctionQueue(queued=3, waiting=3)
    scaled.update(1.0)
    assert why(scaled) == "3 wanted by 1 waiting job per worker, 3 had"
    scaled.arrange({"mail": 3, "sms": 4}, mail=POOL | {"command": "php mail.php", "functions": ["mail", "sms"]})
    scaled.queues.functions = {"mail": FunctionQueue(queued=3), "sms": FunctionQueue(queued=4, running=1)}
    scaled.update(2.0)
    assert why(scaled) == "6 wanted by 1 waiting job per worker, 6 had: max_running holds for sms since T"


@pytest.mark.parametrize(
    ("hold", "reason"),
    [
        (Hold(paused_at=50.0), "mail is paused since -50"),
        (Hold(paused_at=50.0, held_at=90.0, held_until=120.0), "mail is paused since -50"),
        (Hold(held_at=90.0, held_until=120.0), "mail is held by its brake until 20"),
        (Hold(held_at=60.0, held_until=90.0), "mail is held by its brake, single jobs probe since -40"),
        (Hold(throttled_until=130.0), "mail is held, as one of its jobs wished until 30"),
    ],
)
def test_a_pool_does_not_grow_for_jobs_of_a_function_that_is_held_and_says_why(
    scaled: Scaled, hold: Hold, reason: str
) -> None:
    scaled.unix_time = 100.0
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=0, waiting=90, hold=hold)
    assert scaled.update(0.0) == {"mail": 1}
    decision = scaled.autoscaler.decisions("mail").last
    assert decision is not None
    assert decision.sentence(lambda moment: f"{moment:g}").endswith(f", 1 had: min 1 holds since 0; {reason}")
    scaled.queues.functions["mail"] = FunctionQueue(queued=90, waiting=90)
    assert scaled.update(1.0) == {"mail": 10}


def test_fewer_places_than_workers_are_a_reason(scaled: Scaled) -> None:
    scaled.arrange({"mail": 2}, mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=2, running=5)
    scaled.update()
    assert why(scaled).endswith(", 2 had: max_running allows 2 jobs at once since T")


def test_an_operators_size_is_a_reason(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"min": 4, "max": 4})
    scaled.autoscaler.arrange(scaled.workforce.settings, {}, ["mail"])
    scaled.update()
    assert why(scaled) == "0 wanted by 1 waiting job per worker, 4 had: scaled to 4 by hand since T"
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    scaled.update(1.0)
    assert why(scaled) == "9 wanted by 1 waiting job per worker, 4 had: scaled to 4 by hand since T"


def test_a_pause_is_a_reason_and_leaves_the_target(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    scaled.workforce.pools["mail"].pause()
    assert scaled.update() == {"mail": 6}
    assert why(scaled) == "6 wanted by 1 waiting job per worker, 0 had: paused by hand since T"
    scaled.workforce.pools["mail"].resume()
    scaled.update(1.0)
    assert why(scaled) == "6 wanted by 1 waiting job per worker, 6 had"


def test_a_back_off_is_a_reason_until_its_end(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    pool = scaled.workforce.pools["mail"]
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    ready(pool, 1)
    for _ in range(3):
        pool.crashed(pool.new_worker(0.0).name, 0.0, registered=False, jitter=0.5)
    assert scaled.update(0.5) == {"mail": 6}
    assert why(scaled) == "6 wanted by 1 waiting job per worker, 1 had: no worker starts until T (3 crashes)"
    scaled.update(1.0)
    assert why(scaled) == "6 wanted by 1 waiting job per worker, 6 had"
    pool.refused("no memory", 5.0)
    pool.crashes.consecutive = 0
    scaled.update(2.0)
    assert why(scaled).endswith(", 1 had: no worker starts until T (no process could be started)")


def test_a_server_that_is_away_is_a_reason(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=6)
    scaled.update()
    scaled.queues.functions, scaled.queues.away = {}, ["10.0.0.1:4730"]
    scaled.update(1.0)
    text = "no pool shrinks with a job server away since T (10.0.0.1:4730)"
    assert why(scaled) == f"0 wanted by 1 waiting job per worker, 6 had: {text}"


def test_the_host_and_the_cap_are_reasons() -> None:
    scaled = Scaled({"max_workers": 3})
    scaled.arrange(mail=POOL, text=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    scaled.update()
    assert why(scaled) == "9 wanted by 1 waiting job per worker, 2 had: limits.max_workers holds since T"
    assert why(scaled, "text") == "0 wanted by 1 waiting job per worker, 1 had: min 1 holds since T"
    scaled = Scaled({"min_free_memory": "100000GB"})
    scaled.arrange(mail=POOL)
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    scaled.update()
    assert ", 1 had: limits.min_free_memory holds since T (" in why(scaled)
    assert why(scaled).endswith(" MB are free)")


def test_jobs_that_seem_delayed_are_a_reason(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.workforce.resting = ready(scaled.workforce.pools["mail"], 1)
    scaled.queues.functions["mail"] = delayed(200, workers=1)
    for tenth in range(10):
        scaled.update(tenth / 10)
    left_out = "jobs that seem delayed are left out since T (199 jobs)"
    assert why(scaled) == f"1 wanted by 1 waiting job per worker, 1 had: {left_out}"
    scaled.workforce.resting = set()
    scaled.queues.functions["mail"] = delayed(199, running=1, workers=1)
    scaled.update(2.0)
    assert why(scaled).endswith(", 2 had: a pool at most doubles where waiting jobs may be delayed ones since T")


def test_another_decision_is_logged_at_debug_and_a_repeated_one_is_not(
    scaled: Scaled, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    scaled.arrange(mail=POOL)
    for second in range(3):
        scaled.queues.functions["mail"] = FunctionQueue(queued=20 + second)
        scaled.update(float(second))
    told = [record.message for record in caplog.records if "wanted by" in record.message]
    assert len(told) == 1
    assert told[0].startswith("20 wanted by 1 waiting job per worker, 10 had: max 10 holds since ")


def test_a_removed_pool_has_no_decisions(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.update()
    scaled.arrange(text=POOL)
    assert scaled.autoscaler.decisions("mail").last is None


# --- a server that counts delayed jobs as waiting


def delayed(count: int, **counts: int) -> FunctionQueue:
    queue = FunctionQueue(queued=count, waiting=count, doubtful=count)
    return replace(queue, running=counts.get("running", 0), workers=counts.get("workers", 0))


def ready(pool: Pool, count: int) -> set[str]:
    """Brings the pool to this many registered workers; their names."""
    while len(pool.workers) < count:
        worker = pool.new_worker(0.0)
        pool.event(worker.name, WorkerEvent.FORKED, 0.0)
        pool.event(worker.name, WorkerEvent.REGISTERED, 0.0)
    return set(pool.workers)


def test_delayed_jobs_of_a_foreign_server_do_not_drive_a_pool_to_its_max(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.update()
    scaled.workforce.resting = ready(scaled.workforce.pools["mail"], 1)
    scaled.update(0.5)
    scaled.queues.functions["mail"] = delayed(200, workers=1)
    for tenth in range(20):
        assert scaled.update(1 + tenth / 10) == {"mail": 1}


def test_when_they_are_due_the_pool_doubles_while_no_worker_rests(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.update()
    pool = scaled.workforce.pools["mail"]
    scaled.workforce.resting = ready(pool, 1)
    scaled.queues.functions["mail"] = delayed(200, workers=1)
    for tenth in range(20):
        scaled.update(tenth / 10)
    scaled.workforce.resting = set()
    sizes = []
    for step in range(5):
        count = len(pool.workers)
        scaled.queues.functions["mail"] = delayed(200 - count, running=count, workers=count)
        sizes.append(scaled.update(3 + step / 10)["mail"])
        ready(pool, sizes[-1])
    assert sizes == [2, 4, 8, 10, 10]


def test_an_empty_pool_sends_one_worker_ahead(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"min": 0})
    scaled.queues.functions["mail"] = delayed(200)
    assert scaled.update() == {"mail": 1}
    (name,) = ready(scaled.workforce.pools["mail"], 1)
    scaled.workforce.resting = {name}
    assert scaled.update(0.1) == {"mail": 1}
    scaled.workforce.resting = set()  # it has found a job
    scaled.queues.functions["mail"] = delayed(199, running=1, workers=1)
    assert scaled.update(0.2) == {"mail": 10}


def test_a_burst_on_a_foreign_server_is_met_at_once(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL)
    scaled.update()
    ready(scaled.workforce.pools["mail"], 1)
    scaled.queues.functions["mail"] = delayed(200, running=1, workers=1)
    assert scaled.update(1.0) == {"mail": 10}


def test_a_pool_of_programs_rests_while_none_of_its_jobs_runs(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"command": "php mail.php", "functions": ["mail"]})
    scaled.update()
    ready(scaled.workforce.pools["mail"], 1)
    scaled.queues.functions["mail"] = delayed(200, workers=1)
    for tenth in range(20):
        assert scaled.update(tenth / 10) == {"mail": 1}
    scaled.queues.functions["mail"] = delayed(500, workers=1, running=1)
    assert scaled.update(3.0) == {"mail": 10}


# --- windows: other bounds by the time of day


def opens(cron: str, length: str = "2h", **bounds: int) -> dict[str, Any]:
    return {"cron": cron, "for": length, **bounds}


EIGHT, TEN = 8 * 3600.0, 10 * 3600.0
OFFICE_HOURS = POOL | {"max": 30, "windows": [opens("0 8 * * *", min=20)]}


def test_a_window_raises_the_pool_at_its_start_and_the_cooldown_governs_the_way_down(
    scaled: Scaled, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    scaled.arrange(mail=OFFICE_HOURS)
    scaled.unix_time = EIGHT - 600
    assert scaled.autoscaler.update(0.0) == 600.0  # nothing else wakes it
    assert scaled.update(0.0) == {"mail": 1}
    scaled.unix_time = EIGHT
    assert scaled.update(600.0) == {"mail": 20}
    assert "min 20 until 10:00 (window 0 8 * * * UTC)" in caplog.messages
    last = scaled.autoscaler.decisions("mail").last
    assert last is not None
    assert last.sentence(str).endswith("20 had: min 20 holds until 10:00 (window 0 8 * * * UTC)")
    end = 600.0 + TEN - EIGHT
    scaled.unix_time = TEN
    assert scaled.autoscaler.update(end) == end + 30.0
    assert scaled.update(end) == {"mail": 20}
    assert "no window is open: min 1, max 30" in caplog.messages
    scaled.unix_time = TEN + 30
    assert scaled.update(end + 30.0) == {"mail": 1}


def test_a_lower_max_holds_at_once(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"windows": [opens("0 8 * * *", max=2)]})
    scaled.queues.functions["mail"] = FunctionQueue(queued=9)
    assert scaled.update() == {"mail": 9}
    scaled.unix_time = EIGHT
    assert scaled.update(1.0) == {"mail": 2}
    scaled.unix_time = TEN
    assert scaled.update(2.0) == {"mail": 9}


def test_a_clock_that_is_set_back_closes_the_window_and_opens_it_again(scaled: Scaled) -> None:
    scaled.arrange(mail=OFFICE_HOURS | {"scale": {"backlog_per_worker": 1, "cooldown": 0}})
    scaled.unix_time = EIGHT + 60
    assert scaled.update(0.0) == {"mail": 20}
    scaled.unix_time = EIGHT - 60
    assert scaled.autoscaler.update(1.0) == 61.0
    assert scaled.update(1.0) == {"mail": 1}
    scaled.unix_time = EIGHT
    assert scaled.update(61.0) == {"mail": 20}


def test_the_min_of_a_window_yields_to_the_limit_of_all_pools_together() -> None:
    scaled = Scaled({"max_workers": 25})
    scaled.arrange(mail=OFFICE_HOURS, text=POOL | {"min": 4, "windows": [opens("0 9 * * *", min=10)]})
    scaled.unix_time = EIGHT
    assert scaled.update() == {"mail": 20, "text": 4}
    scaled.unix_time = EIGHT + 3600
    together = scaled.update(3600.0)
    assert sum(together.values()) == 25
    assert together["text"] >= 4


def test_a_reload_during_a_window_keeps_it_open_and_other_bounds_hold_at_once(scaled: Scaled) -> None:
    scaled.arrange(mail=OFFICE_HOURS)
    scaled.unix_time = EIGHT + 60
    scaled.update()
    scaled.arrange(mail=OFFICE_HOURS | {"min": 2})
    assert scaled.update(1.0) == {"mail": 20}
    scaled.arrange(mail=OFFICE_HOURS | {"windows": [opens("0 8 * * *", min=25)]})
    assert scaled.update(2.0) == {"mail": 25}


def test_a_window_lets_a_pool_go_to_zero(scaled: Scaled) -> None:
    scaled.arrange(mail=POOL | {"windows": [opens("0 22 * * *", "8h", min=0)]})
    scaled.unix_time = 21 * 3600.0
    assert scaled.update() == {"mail": 1}
    scaled.unix_time = 22 * 3600.0
    scaled.update(3600.0)
    assert scaled.update(3660.0) == {"mail": 0}
    scaled.unix_time = 30 * 3600.0
    assert scaled.update(9 * 3600.0) == {"mail": 1}
