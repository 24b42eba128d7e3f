"""The policies file: the operator's rules for functions and schedules, read and handed to the broker.

In: a path. Out: a `PolicyFile` (`contents.py`), or all mistakes in the file at once, by line and key.
Open `loading.py` first: it runs at the start and at SIGHUP. `file.py` reads; `values.py` and `schedule_keys.py` define
the allowed values. The rules themselves, and their effects, are in the room jobs.
"""
