"""The routes of the control API, below `/api/v1`, and their description as an OpenAPI document.

In: requests that `control/` has let in. Out: JSON; a refusal is a problem of RFC 9457. Each subject has a file of
routes: `pool_routes.py`, `manager_routes.py` (status, stop, reload, logs), `job_routes.py`, `batch_routes.py`,
`dead_routes.py`, `function_routes.py` (schedules too), `drain_routes.py`, `server_restart_routes.py`,
`series_routes.py` … A route calls the object that does the work, mostly one in `control/`. What it takes and answers
stands beside it as an `Operation` (`description.py`): `requests.py` checks queries and bodies by that, and
`document.py` makes the document of it. Lists go on at a cursor (`pages.py`). Open `pool_routes.py` first.
"""
