"""The text command `policies`: the policies in force for each function."""

from __future__ import annotations

from collections.abc import Callable

from gearman_server.jobs.policies import BrakeRule, FunctionPolicy, KeyPolicy, Rate

from ..broker_harness import BrokerHarness


def test_the_policies_can_be_asked_for(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(job_retries=3)
    assert broker.peer().text(b"policies") == b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\t-\t-\t-\t-\t-\n.\n"
    policy = FunctionPolicy(
        timeout_s=0.5,
        retries=1,
        crash_retries=0,
        max_queue=7,
        max_running=2,
        rate=Rate(5, 60),
        keep_result_s=3600,
        allow_options=frozenset({"tags", "retries"}),
        keys=KeyPolicy(5, Rate(10, 1), is_fair=True, weights={b"a": 2}),
        brake=BrakeRule(Rate(20, 60), 1.5, 2),
        is_unique_in_cluster=True,
        retention_s=86400.0,
    )
    broker.broker.use_policies({b"a b": policy, b"g": FunctionPolicy(allow_options=frozenset())})
    assert broker.peer().text(b"policies") == (
        b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\t-\t-\t-\t-\t-\n"
        b"a b\t0.5\t1\t0\t10\t600\t7\t2\t5/60\t3600\tretries,tags\t"
        b"fair,max_running=5,rate=10/1,weights=1\t20/60/1.5/2\tcluster\t86400\n"
        b"g\t-\t0\t2\t10\t600\t-\t-\t-\t-\tnone\t-\t-\t-\t-\n.\n"
    )
