"""The commands `gearman` and `gearadmin`, with the options and the output of the tools that come with gearmand.

In: a command line and standard input. Out: results on standard output, errors on standard error, and an exit code.
Open `gearman.py` first: it leads to `submitting.py` (jobs), `line_mapping.py` (--map) and `working.py` (worker). They
write to an `Output` (`job_report.py`): `plain_output.py` or `json_output.py`. The other command is `gearadmin.py`, with
`admin_actions.py`, `admin_asking.py` and `admin_views.py`. Both use `command_line.py`, `options.py` and `streams.py`.
`starting.py` is the first module of both.
"""
