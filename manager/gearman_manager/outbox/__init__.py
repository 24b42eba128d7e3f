"""The relay of the outbox: it hands rows of a program's database to the job servers, each once, in order of their key.

In: the table `gearman_outbox`, which `gearman_client.outbox` fills. Out: jobs, and the rows deleted, or set aside with
a reason. It is a process of its own, `gearman-manager outbox URL`, with threads and without gevent.
Open `relay.py` first, its loop. `table.py` has the statements, `database.py` the three kinds of databases; `link.py` is
the thread for one job server, `row.py` and `batch.py` what it is given, `outcomes.py` what becomes of a row.
`process.py` is the process around it, `metrics_port.py` its figures for Prometheus.
"""
