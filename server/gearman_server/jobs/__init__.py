"""Jobs: all that the broker knows of them, of functions, and of connections, and the rules by which they change. Pure.

In: calls from the rooms requests and text_commands, and the time. Out: replies in the sessions' out-buffers (and those
sessions in `touched`), events, and what a `Store` is asked to keep.
Open `job.py` first, for a job's states, and `job_life.py`, the one place where they change; then `function.py` (queues
and workers) and `session.py` (a connection). `job_table.py` and `functions.py` find them by handle and by name.
What becomes of an attempt that failed: `attempts.py`. Who is woken: `wake_up.py`. What waits for the store:
`durability.py`; `store.py` is the seam that the room stores fills. What has to be done later: `agenda.py`.
"""
