"""The policies file: what an operator writes about functions and schedules, read and handed to the broker.

In: a path. Out: a `PolicyFile` (contents.py), or all that is wrong with the file at once, by line and key.
Open `loading.py` first: at the start, and again at SIGHUP. `file.py` reads; `values.py` and `schedule_keys.py` say what
may be written. The rules themselves, and what comes of them, are in the room jobs.
"""
