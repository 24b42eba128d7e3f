"""What has happened, kept over restarts in one bounded SQLite file in the run folder. Its loss costs history alone.

In: actions of operators, noted by `recording.py` after each request that changes something. Out: the log, and pages of
the last actions (`action_log.py`). All that touches the file runs in one thread (`history_file.py`), so that a slow
disk never stops the manager's loop. A further kind of history declares its table there, and gives its writes and reads
to `HistoryFile.run`, as `series/` does. Open `history_file.py` first.
"""
