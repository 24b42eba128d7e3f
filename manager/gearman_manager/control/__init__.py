"""What the control API serves: HTTP on a Unix socket in the run folder, and on a TCP address if there is one.

In: requests of the command line, or of any client with the token. Out: what the routes in `api/` answer; a refusal is
a problem of RFC 9457 (`problems.py`). `server.py` and `tcp_port.py` serve the application of `app.py`, by
`connections.py` and `wsgi.py`; `late_application.py` stands for it until it is made. The routes call the objects here
that do the work: `operator_changes.py`, `explanations.py`, `status.py`, `server_jobs.py`, `all_that_match.py`,
`server_restarts.py`, `drain_report.py`. Open `server.py` first.
"""
