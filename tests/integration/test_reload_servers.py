"""A reload with other job servers: the workers leave the old servers and connect to the new ones."""

from __future__ import annotations

from .conftest import RunningManager, eventually


def test_workers_follow_to_the_job_servers_of_a_changed_configuration(napping: RunningManager) -> None:
    napping.config_file.write_text(
        "run_dir: run\nserver: {listen: 127.0.0.1:0}\nservers: [127.0.0.1:1]\nlimits: {max_workers: 1}\n"
    )
    napping.launch()
    eventually(lambda: "127.0.0.1:1 can't be reached" in napping.log(), "nobody is there")
    napping.config_file.write_text("run_dir: run\nserver: {listen: 127.0.0.1:0}\ndefaults: {min: 2, max: 2}\n")
    napping.command("reload")
    eventually(lambda: len(napping.status()["pools"]["nap"]["workers"]) == 2, "the old limit no longer holds")
    eventually(napping.settled, "the workers are registered with the bundled job server")
    (napping.address,) = napping.status()["servers"]
    with napping.client() as client:
        assert client.submit("nap", "0") is not None
