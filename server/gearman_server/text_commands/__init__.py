"""Text commands: lines that an administrator, or a monitoring tool, sends on the job port. Pure.

In: a session and the words of its line. Out: the answer's exact bytes, or none yet, where it follows later.
Open `admin.py` first: it finds the command, and answers gearmand's own questions. `change_commands.py` has those that
change something; ours are `job_commands.py`, `dead_commands.py`, `schedule_commands.py` and `policy_commands.py`. They
share `arguments.py` (conditions in) and `tables.py` (tables out); long lists come in pages (`listings.py`), and changes
to very many jobs a few at a time (`bulk_changes.py`).
"""
