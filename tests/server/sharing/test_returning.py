"""After a new connection to the same database nothing is taken from it: no row there is one that was deleted."""

from __future__ import annotations

from gearman_client.packet import PacketType

from .conftest import Cluster, Until, run_all, submit

_COPIED = (
    "state, priority, requeues, failures, run_at, submitted_at, handle, function_name, unique_key, reducer, last_error,"
    " workload, owner"
)


def test_a_row_of_which_the_server_does_not_know_stays(cluster: Cluster, until: Until) -> None:
    """As one of a page of adopted rows whose commit got no answer, or one that can't be used."""
    server = cluster.start()
    submit(server.peer(), 2)
    first = "(SELECT MIN(id) FROM gearman_jobs)"
    cluster.database.execute(
        f"INSERT INTO gearman_jobs (id, {_COPIED}) SELECT 7, {_COPIED} FROM gearman_jobs WHERE id = {first}"
    )
    assert cluster.database.terminate_others() >= 2
    until(lambda: server.peer().ask(PacketType.SUBMIT_JOB_BG, b"f", b"", b"w2")[0] == PacketType.JOB_CREATED)
    assert len(run_all(server.peer())) >= 3
    until(lambda: len(cluster.database.rows("id")) == 1)
    assert cluster.database.rows("id") == [(7,)]
