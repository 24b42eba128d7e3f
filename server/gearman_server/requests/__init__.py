"""Requests: a handler for each packet of the Gearman protocol, and the broker's acts that no packet asks for. Pure.

In: a session, a packet's body and the time; `broker.py` collects the handlers by type of packet. Out: calls of the room
jobs, and replies. A handler that can't carry out its request raises `RefusedError` before it has changed anything.
Open `submissions.py` first, then `assignments.py` and `work_packets.py`: a job's way to a worker, and its result's way
back. `abilities.py` and `queries.py` have the other requests. `scheduler.py` submits by the clock; `replay.py` brings
stored jobs back: `restoring.py` makes jobs of their rows, and requests that name one of them wait (`named_jobs.py`).
`queue_events.py` pushes counts.
"""
