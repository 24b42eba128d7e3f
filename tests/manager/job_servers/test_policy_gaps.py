"""The function keys that hold on job servers that the manager did not start, and those that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gearman_manager.config import Config, FoundFunction, ResolvedFunction, lay_out
from gearman_manager.config.function_keys import Brake
from gearman_manager.job_servers.policy_gaps import MAX_LISTED, policy_gaps
from gearman_manager.privacy import FunctionPrivacy

NOTHING = b"*\t-\t0\t-\t10\t600\t-\t-\t-\n"
FOREIGN = "can't hold: this job server is no gearman-server and has no policies"
PLAIN = ResolvedFunction(
    name="f",
    module_name="f",
    pool="f",
    file="workers/f.py",
    line=1,
    timeout_s=60,
    retries=0,
    crash_retries=3,
    backoff_s=10,
    max_backoff_s=600,
    keep_result_s=None,
    max_queue=None,
    max_running=None,
    rate=None,
    brake=None,
    settings={},
)
DEMANDING = replace(
    PLAIN,
    retries=3,
    crash_retries=1,
    backoff_s=30,
    max_backoff_s=60,
    max_queue=5,
    max_running=2,
    rate="100/m",
    keep_result_s=3600,
    allow_options=("retries", "timeout"),
    unique_scope="cluster",
    privacy=FunctionPrivacy(retention_s=7200),
    key_max_running=5,
    key_rate="10/s",
    is_fair=True,
    weights={"a": 2},
    brake=Brake.model_validate({"failures": "20/1m", "hold": "1.5s", "probe": 2}),
)


@pytest.mark.parametrize("answer", [None, NOTHING + b".\n"])
def test_default_values_make_no_gap(answer: bytes | None) -> None:
    assert policy_gaps({"f": PLAIN}, {}, answer) == []


def test_a_foreign_server_keeps_no_policy() -> None:
    assert policy_gaps({"f": DEMANDING}, {}, None) == [
        f"functions.f.max_queue: 5 {FOREIGN}",
        f"functions.f.max_running: 2 {FOREIGN}",
        f"functions.f.keep_result: 1h {FOREIGN}",
        f"functions.f.retention: 2h {FOREIGN}",
        f"functions.f.retries: 3 {FOREIGN}",
        f"functions.f.backoff: 30s {FOREIGN}",
        f"functions.f.max_backoff: 1m {FOREIGN}",
        f"functions.f.crash_retries: 1 {FOREIGN}",
        f"functions.f.rate: 100/m {FOREIGN}",
        f"functions.f.allow_options: retries, timeout {FOREIGN}",
        f"functions.f.unique_scope: cluster {FOREIGN}",
        f"functions.f.brake: failures 20/60s, hold 1.5s, probe 2 {FOREIGN}",
        f"functions.f.keys: fair,max_running=5,rate=10/1,weights=1 {FOREIGN}",
    ]


def test_a_foreign_server_gives_a_worker_one_job_at_a_time() -> None:
    config = Config.model_validate({"server": {}, "pools": {"mail": {"prefetch": 50}, "rows": {}, "slow": {}}})
    options: dict[str, dict[str, object]] = {"mail": {}, "rows": {"batch": 100, "linger": "50ms"}, "slow": {}}
    found = [FoundFunction(name, f"workers/{name}.py", 1, own) for name, own in options.items()]
    layout = lay_out(config, found, cores=1)
    alone = "can't hold: this job server is no gearman-server and gives a worker one job at a time"
    assert policy_gaps(layout.functions, layout.pools, None) == [
        f"functions.rows.batch: 100 {alone}",
        f"pools.mail.prefetch: 50 {alone}",
    ]
    assert policy_gaps(layout.functions, layout.pools, NOTHING + b".\n") == []


def test_a_programs_timeout_depends_on_the_server() -> None:
    assert policy_gaps({"f": replace(PLAIN, file="")}, {}, None) == [f"functions.f.timeout: 1m {FOREIGN}"]


def test_an_independent_server_keeps_only_its_own_policies() -> None:
    same = (
        NOTHING
        + b"f\t-\t3\t1\t30\t60\t5\t2\t100/60\t3600\tretries,timeout\tfair,max_running=5,rate=10/1,weights=1"
        + b"\t20/60/1.5/2\tcluster\t7200\n.\n"
    )
    assert policy_gaps({"f": DEMANDING}, {}, same) == []
    other = NOTHING + b"f\t-\t3\t1\t30\t60\t-\t7\t100/3600\n.\n"
    says = "does not hold: this job server's own policies say"
    assert policy_gaps({"f": DEMANDING}, {}, other) == [
        f"functions.f.max_queue: 5 {says} no limit",
        f"functions.f.max_running: 2 {says} 7",
        f"functions.f.keep_result: 1h {says} none",
        f"functions.f.retention: 2h {says} none",
        f"functions.f.rate: 100/m {says} 100/h",
        f"functions.f.allow_options: retries, timeout {says} all",
        f"functions.f.unique_scope: cluster {says} server",
        f"functions.f.brake: failures 20/60s, hold 1.5s, probe 2 {says} none",
        f"functions.f.keys: fair,max_running=5,rate=10/1,weights=1 {says} none",
    ]


def test_a_function_without_a_policy_at_the_server_has_the_servers_defaults() -> None:
    [first, *_] = policy_gaps({"f": replace(PLAIN, retries=3)}, {}, NOTHING + b".\n")
    assert first == "functions.f.retries: 3 does not hold: this job server's own policies say 0"


def test_only_some_of_many_gaps_are_listed() -> None:
    functions = {f"f{number:03}": replace(PLAIN, max_running=1) for number in range(MAX_LISTED + 5)}
    sentences = policy_gaps(functions, {}, None)
    assert len(sentences) == MAX_LISTED + 1
    assert sentences[-1] == "and 5 more"


def test_the_server_escapes_a_tab_and_a_backslash_in_a_functions_name() -> None:
    functions = {name: replace(PLAIN, name=name, retries=3) for name in ("shop\tmail", "a\\b")}
    rules = rb"f\t-\t3\t3\t10\t600\t-\t-\t-".decode("unicode_escape").encode()
    lines = [name + rules[1:] + b"\n" for name in (rb"shop\x09mail", rb"a\x5cb")]
    assert policy_gaps(functions, {}, NOTHING + b"".join(lines) + b".\n") == []
