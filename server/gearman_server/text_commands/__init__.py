"""Text commands: lines that an administrator, or a monitoring tool, sends on the job port. Pure.

In: a session and the words of its line. Out: the answer's exact bytes, or nothing if the answer follows later.
Open `admin.py` first: it finds the command, and answers gearmand's queries (`status`, `workers` ...). In
`change_commands.py` are gearmand's commands that change something, and our `fail`; our others are in `job_commands.py`,
`dead_commands.py`, `schedule_commands.py` and `policy_commands.py`. They share `arguments.py` (conditions in) and
`tables.py` (tables out); long lists come in pages (`listings.py`), and very many jobs are changed a few at a time
(`bulk_changes.py`). Lines of other protocols (`foreign_protocols.py`) end their connection.
"""
