"""Failures, grouped: by function, exception and place in the code, over restarts of the manager.

In: ends of attempts, as the job servers tell of them (`finished/`). Out: groups with counts by hour, a sample and the
jobs, for pages and API; retries and drops of the dead letters of a group (`group_changes.py`); and which failures are
muted, for the alerts (`mutes.py`). `signature.py` says what makes two failures the same, `gathering.py` adds them up,
`group_file.py` keeps the groups in the history's file. Open `groups.py` first.
"""
