"""The commands `gearman` and `gearadmin`, with the options and the output of the tools that come with gearmand.

In: a command line and standard input. Out: results on standard output, errors on standard error, and an exit code.
Open `gearman.py` first: it leads to `submitting.py` (client), `working.py` (worker) and `fetching.py` (kept results).
`gearadmin.py` is the other command; `command_line.py` has the parts common to both.
"""
