"""Many jobs under way at once over all servers: task sets, `map`, futures.

In: functions and workloads, from one thread. Out: tasks that are done, results in order, futures.
Open `task_set.py` first; `runner.py` drives everything, `placement.py` chooses servers, `line.py` is one server.
"""

from __future__ import annotations
