"""Jobs: the state of jobs, functions and connections, and the rules by which it changes. Pure.

In: calls from the rooms requests and text_commands, and the time. Out: replies in the sessions' out-buffers (and those
sessions in `touched`), events, and calls of a `Store`.
Open `job.py` first, for a job's states, and `job_life.py`, the one place where they change; then `function.py` (queues
and workers) and `session.py` (a connection). `job_table.py` and `functions.py` find them by handle and by name.
`wake_up.py` wakes workers, and `durability.py` holds replies back until the store has
the job; `store.py` is the seam that the room stores fills. `agenda.py` holds everything that is to be done later.
"""
