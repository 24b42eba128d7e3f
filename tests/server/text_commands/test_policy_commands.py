"""The text command `policies`: the policies in force for each function."""

from __future__ import annotations

from collections.abc import Callable

from gearman_server.jobs.policies import FunctionPolicy, Rate

from ..broker_harness import BrokerHarness


def test_the_policies_can_be_asked_for(make_broker: Callable[..., BrokerHarness]) -> None:
    broker = make_broker(job_retries=3)
    assert broker.peer().text(b"policies") == b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\n.\n"
    policy = FunctionPolicy(
        timeout_s=0.5, retries=1, crash_retries=0, max_queue=7, max_running=2, rate=Rate(5, 60), keep_result_s=3600
    )
    broker.broker.use_policies({b"a b": policy, b"g": FunctionPolicy()})
    assert broker.peer().text(b"policies") == (
        b"*\t-\t0\t2\t10\t600\t-\t-\t-\t-\n"
        b"a b\t0.5\t1\t0\t10\t600\t7\t2\t5/60\t3600\n"
        b"g\t-\t0\t2\t10\t600\t-\t-\t-\t-\n.\n"
    )
