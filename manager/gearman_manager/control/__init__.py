"""The control API: HTTP on a Unix socket in the run folder, and on a TCP address if the configuration names one.

In: requests of the command line, or of any client with the token. Out: JSON; a refusal gives its reason.
Each subject has a file of routes: `pool_routes.py` (scale, pause, decisions …), `manager_routes.py` (status, stop,
reload, logs), `job_routes.py` (jobs, dead, functions, schedules), `drain_routes.py`, `server_restart_routes.py`. A
route calls the object that does the work, in `operator_changes.py`, `explanations.py`, `status.py`, `server_jobs.py`
or `server_restarts.py`. The routes share `app.py`; `server.py` and `tcp_port.py` serve them, by `connections.py` and
`wsgi.py`. Open `pool_routes.py` first.
"""
