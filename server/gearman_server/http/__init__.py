"""HTTP: a port that submits jobs, and one for metrics, health and results. Each is loaded only if it is configured.

In: listening sockets, the broker and its listener. Out: for each job a session with the broker, as if the job had come
by the Gearman protocol; for metrics and results only answers.
Open `opening.py` first: the two ports. They share `port.py`: connections, a greenlet for each; HTTP itself is read and
written by `gearman_process.http`. `web_pages.py` refuses foreign web pages. `jobs.py` is the application that submits,
and stops jobs by `stopping.py`; `caller.py` is its session. `metrics_application.py` is the other one, on top of
`metrics.py` (`function_families.py` and `cluster_metrics.py` declare most of it, `metrics_page.py` is its form) and
`results.py`.
"""
