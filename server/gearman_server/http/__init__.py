"""HTTP: jobs submitted by it, and a port to look at the server: metrics, health, results. None of it is loaded unasked.

In: listening sockets, the broker and its listener. Out: for each job a session with the broker, as if it had come in by
the Gearman protocol; for metrics and results nothing but answers.
Open `opening.py` first: which ports there are. `port.py` is what both have in common: connections, gevent's WSGI
handler, a greenlet for each. `jobs.py` is the application that submits, and `caller.py` its session.
`metrics_application.py` is the other one, over `metrics.py` and `results.py`.
"""
