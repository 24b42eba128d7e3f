"""gearmand's own test suite against our server: the cases that its newest source passes and ours does not, and why.

The suite is a program of gearmand's source tree and not part of these tests. It starts the server under test with
gearmand's options, and has 603 cases; `REASONS` names those of the 603 by program, collection and case. A test below
holds the behaviour of each, so that no reason outlives it. Two more cases fail with both servers: `httpd curl "curl
/httpd_worker --data=fubar"` expects a longer page than its worker makes, and `blobslap_client --unknown` looks at the
benchmark's own options.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

REASONS = {
    ("gearmand", "basic options", "-vvv"): "-v, -vv and -vvv choose the level of the log, a short form of --verbose",
}


def test_the_level_of_the_log_can_be_chosen_by_v(run_command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert ("gearmand", "basic options", "-vvv") in REASONS
    assert run_command("--check-args", "-vvv").returncode == 0
