"""The order for a pool's workers, and the changes that replace running workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gearman_client.address import Address
from gearman_client.tls import Tls
from gearman_manager.bridge.order import COMMAND
from gearman_manager.config import Config, FoundFunction, lay_out
from gearman_manager.pools.pool_order import CodeFiles, PoolOrder, Surroundings, pool_order
from gearman_manager.worker.order import OrderedFunction

SERVERS = (Address("127.0.0.1", 4730), Address("::1", 4731, Tls("ca.pem")))
AROUND = Surroundings(SERVERS, ["workers"], "INFO")
CODE = CodeFiles({"workers/mail.py": "1", "workers/text.py": "2"}, {"workers/mail.py": ["workers/mail.py"]})


def order(
    pool: Mapping[str, Any] | None = None,
    function: Mapping[str, Any] | None = None,
    around: Surroundings = AROUND,
    code: CodeFiles = CODE,
    file: str = "workers/mail.py",
) -> PoolOrder:
    """The order of a pool `mail` with one function."""
    config = Config.model_validate({"server": {}, "pools": {"mail": {**(pool or {})}}})
    layout = lay_out(config, [FoundFunction("mail", file, 1, function or {})], cores=1)
    assert not layout.problems
    return pool_order(layout.pools["mail"], layout, around, code)


def test_an_order_has_the_workers_limits_servers_and_functions() -> None:
    pool = order({"max_memory": "300MB", "max_jobs": 7, "nice": 5}, {"timeout": "2s", "settings": {"host": "h"}})
    told = pool.for_worker("mail/3", (11,), "gm:here/mail/3")
    assert (told.name, told.client_id, told.slot) == ("mail/3", "gm:here/mail/3", 11)
    assert (told.max_memory_bytes, told.max_jobs, told.nice) == (300_000_000, 7, 5)
    assert [(server, server.tls) for server in told.servers] == [(server, server.tls) for server in SERVERS]
    assert told.functions == (OrderedFunction("mail", "mail", "workers/mail.py", 2.0, {"host": "h"}),)
    assert told.job_slots == ()


def test_a_worker_of_several_jobs_gets_a_slot_for_each() -> None:
    told = order({"concurrency": 2}).for_worker("mail/1", (4, 5, 6), "gm:here/mail/1")
    assert (told.slot, told.job_slots, told.folders) == (4, (5, 6), ("workers",))


def test_functions_in_php_are_served_by_the_bridge() -> None:
    pool = order(file="workers/mail.php")
    assert pool.pool.command == COMMAND
    assert pool.functions[0].file == "workers/mail.php"


@pytest.mark.parametrize(
    "change",
    [
        {"pool": {"nice": 5}},
        {"pool": {"preload": False}},
        {"function": {"timeout": "3s"}},
        {"function": {"settings": {"host": "other"}}},
        {"around": Surroundings(SERVERS[:1], ["workers"], "INFO")},
        {"around": Surroundings((SERVERS[0], Address("::1", 4731, Tls("other.pem"))), ["workers"], "INFO")},
        {"code": CodeFiles({**CODE.hashes, "workers/mail.py": "changed"}, CODE.needs)},
    ],
    ids=str,
)
def test_these_changes_replace_the_workers(change: dict[str, Any]) -> None:
    assert order(**change).version != order().version


@pytest.mark.parametrize(
    "change",
    [
        {"pool": {"min": 2, "max": 9}},
        {"pool": {"max_memory": "1GB", "max_jobs": 3}},
        {"pool": {"scale": {"utilisation": 0.5}}},
        {"around": Surroundings(SERVERS, ["workers"], "DEBUG")},
    ],
    ids=str,
)
def test_these_changes_replace_no_worker(change: dict[str, Any]) -> None:
    assert order(**change).version == order().version


def test_lifetimes_end_at_different_times_and_never_late() -> None:
    pool = order({"max_lifetime": "100s"})
    ends = [pool.expiry(f"mail/{serial}", 1000.0) or 0 for serial in range(1, 9)]
    assert len(set(ends)) == len(ends)
    assert all(1080.0 <= end <= 1100.0 for end in ends)
    assert order().expiry("mail/1", 1000.0) is None
