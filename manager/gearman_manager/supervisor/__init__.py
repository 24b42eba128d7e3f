"""The supervisor: one manager from its start to its end. It never imports user code.

In: the configuration, the run folder, and events from the rooms below (a worker died or registered, a queue or a file
changed, a signal or a request came). Out: an exit code, and until then the wanted number of workers with current code.
Open `supervisor.py` first for start, loop and end, then `build.py`, which makes the parts in order, and
`routes.py`, which makes the application for requests once the workers are up. `arrangement.py` hands a new generation
to all of them, `reload.py` carries out requests to reload, `config_watches.py` follows queues and files,
`manager_state.py` has the table of states. `limit_enforcer.py` and `orphan_reaper.py` run beside the loop;
`announcer.py` informs the service manager of the manager's `health.py`.
"""
