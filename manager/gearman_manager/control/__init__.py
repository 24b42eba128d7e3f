"""The control API: HTTP on a Unix socket in the run folder, and on a TCP address where the configuration names one.

In: requests of the command line, or of anybody with the token. Out: JSON; a refusal says why.
A route stands in the file of its subject: `pool_routes.py` (scale, pause, resume, restart), `manager_routes.py`
(status, stop, reload, logs), `job_routes.py` (jobs, dead, schedules). It calls the object that does the work, as in
`operator_changes.py`, `status.py` or `server_jobs.py`. `app.py` is what the routes share; `server.py` and `tcp_port.py`
serve them. Open `pool_routes.py` first.
"""
