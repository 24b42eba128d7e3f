"""Requests: what each packet of the Gearman protocol does, and what the broker does by itself. Pure.

In: a session, a packet's body and the time; a handler for each type of packet, all of which `broker.py` collects. Out:
calls of the room jobs, and replies. A handler that can't do what it is asked raises `RefusedError`, before it has
changed anything.
Open `submissions.py` first, then `assignments.py` and `work_packets.py`: a job's way to a worker, and its result's way
back. `abilities.py` and `queries.py` are the other requests. `scheduler.py` submits by the clock; `replay.py` brings
stored jobs back, and holds up requests that name one of them (`named_jobs.py`); `queue_events.py` pushes counts.
"""
