"""The manager's log: its destinations and formats, and the output of the manager's children.

In: records of `logging`, with pool, worker, pid, function and handle as `extra`; the children's output from pipes.
Out: lines in a file, on a stream or in the system's log; the last ones in memory, for `gearman-manager logs`.
Open `log.py` first, then `output.py`.
"""
