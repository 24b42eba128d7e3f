"""The commands `failures` and `peers`: what goes wrong, in jobs and with other managers, as their pages show it.

In: a command line, and the answers of the running manager. Out: tables, JSON, and changes of groups of failures. Open
`failure_commands` first; `failure_view` has its tables, `peer_command` is the other command.
"""
