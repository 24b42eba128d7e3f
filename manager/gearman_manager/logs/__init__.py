"""The manager's log: where its lines go and what they look like, and what its children print.

In: records of `logging`, with pool, worker, pid, function and handle as `extra`; the children's output from pipes.
Out: lines in a file, on a stream or in the system's log; the last ones in memory, for `gearman-manager logs`.
Open `log.py` first, then `output.py`.
"""
