"""Batches and chains whose jobs are run by workers in PHP (libgearman) and Perl, which know nothing of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearman_client import Client, FollowUp

from ..server_process import ServerProcess

#: `note` writes the workload into a file, a line for each job.
PHP = """
$w = new GearmanWorker();
$w->addServer("127.0.0.1", (int)$argv[1]);
$w->addFunction("upper", function ($job) { return strtoupper($job->workload()); });
$w->addFunction("note", function ($job) use ($argv) {
    file_put_contents($argv[2], $job->workload() . "\\n", FILE_APPEND);
});
while ($w->work());
"""
PERL = """
use Gearman::Worker;
my $w = Gearman::Worker->new;
$w->job_servers("127.0.0.1:$ARGV[0]");
$w->register_function(turn => sub { $_[0]->arg eq "BAD" ? die "no" : scalar reverse $_[0]->arg });
$w->work;
"""


@pytest.fixture
def notes(server: ServerProcess, tmp_path: Path, until: Callable[[Callable[[], bool]], None]) -> Iterator[Path]:
    """Where the PHP worker notes things, while both workers serve."""
    notes = tmp_path / "notes"
    notes.touch()
    workers = [
        subprocess.Popen(["php", "-r", PHP, "--", str(server.port), str(notes)]),
        subprocess.Popen(["perl", "-e", PERL, str(server.port)]),
    ]
    try:
        until(lambda: all(f"{name}\t0\t0\t1".encode() in server.text(b"status") for name in ("upper", "note", "turn")))
        yield notes
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_callbacks_and_chains_follow_once(
    server: ServerProcess, notes: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    with Client(f"127.0.0.1:{server.port}", timeout_s=30) as client:
        well, ill = FollowUp("note", "well"), FollowUp("note", "ill")
        with client.batch(id="well", on_complete="note", on_success=well, on_failure=ill) as batch:
            batch.background_many("upper", [b"%d" % number for number in range(30)])
            batch.background_many("turn", [b"%d" % number for number in range(30)])
            batch.background("upper", b"abc", then=["turn", "upper"])
        with client.batch(id="ill", on_complete="note", on_success=well, on_failure=ill) as other:
            for word in ("good", "bad"):  # in Perl, the function dies of the second
                other.background("upper", word, then=["turn", "note"], on_failure=FollowUp("note", "broken"))
        until(lambda: batch.status().state == other.status().state == "done")
        assert (batch.status().complete, batch.status().jobs) == (63, 63)
        until(lambda: len(notes.read_text().splitlines()) == 6)
        client.submit("note", b"last", timeout_s=30)  # behind all that was queued
        *lines, last = notes.read_text().splitlines()
    assert last == "last"
    facts = {told["batch"]: told for told in map(json.loads, (line for line in lines if line.startswith("{")))}
    assert (facts["well"]["success"], facts["well"]["complete"]) == (True, 63)
    assert (facts["ill"]["success"], facts["ill"]["complete"], facts["ill"]["failed"]) == (False, 5, 1)
    assert sorted(line for line in lines if not line.startswith("{")) == ["DOOG", "broken", "ill", "well"]
