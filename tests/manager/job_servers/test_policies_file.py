"""The functions' policies as the bundled job server gets them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gearman_manager.config import FoundFunction, lay_out, load
from gearman_manager.job_servers.policies_file import policies_of, provisional_policies, write_policies
from gearman_server.jobs.policies import BrakeRule, FunctionPolicy, KeyPolicy, Rate
from gearman_server.policy_file.file import read_policies

CONFIG = """
server:
prefix: acme.
defaults: {rate: 5/s, retries: 1, brake: {failures: 20/1m, hold: 1m, probe: 2}}
functions:
  mail: {timeout: 1.5s, retries: 4, backoff: 30s, max_backoff: 2m, crash_retries: 0, max_queue: 10, max_running: 2,
    keep_result: 1d, per_key: {max_running: 5, rate: 100/m}, fair: true, weights: {bulk: 1, 2: 10},
    allow_options: [timeout, retries], unique_scope: cluster}
  free: {rate: 0, retries: 0, allow_options: [], brake: {failures: 0}}
"""
BRAKE = BrakeRule(Rate(20, 60), hold_s=60, probe=2)
MAIL = FunctionPolicy(
    timeout_s=1.5,
    retries=4,
    crash_retries=0,
    backoff_s=30,
    max_backoff_s=120,
    max_queue=10,
    max_running=2,
    rate=Rate(5, 1),
    keep_result_s=86400,
    allow_options=frozenset({"retries", "timeout"}),
    is_unique_in_cluster=True,
    keys=KeyPolicy(5, Rate(100, 60), is_fair=True, weights={b"bulk": 1, b"2": 10}),
    brake=BRAKE,
)
FREE = FunctionPolicy(crash_retries=3, allow_options=frozenset())


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., dict[bytes, FunctionPolicy]]:
    """The policies that the server reads from the file that the manager writes for a configuration."""

    def read(*found: FoundFunction) -> dict[bytes, FunctionPolicy]:
        file = tmp_path / "config.yaml"
        file.write_text(CONFIG)
        (tmp_path / "workers").mkdir()
        config = load(file, {})
        policies = policies_of(lay_out(config, found, 2).functions) if found else provisional_policies(config)
        written = tmp_path / "policies.yaml"
        assert write_policies(written, policies, {})
        assert not write_policies(written, policies, {})
        return dict(read_policies(str(written)).by_function)

    return read


def test_the_server_understands_every_key(read: Callable[..., dict[bytes, FunctionPolicy]]) -> None:
    found = [FoundFunction(name, f"workers/{name}.py", 1, {}) for name in ("mail", "free", "other")]
    assert read(*found) == {
        b"acme.mail": MAIL,
        b"acme.free": FREE,
        b"acme.other": FunctionPolicy(retries=1, crash_retries=3, rate=Rate(5, 1), brake=BRAKE),
    }


def test_before_the_modules_are_loaded_the_server_gets_the_policies_of_the_file(
    read: Callable[..., dict[bytes, FunctionPolicy]],
) -> None:
    assert read() == {b"acme.mail": MAIL, b"mail": MAIL, b"acme.free": FREE, b"free": FREE}
