"""The command `gearman-server`: words into settings, errors into one line and an exit code. It serves nothing itself.

In: the command line, the environment, the configuration file. Out: `ServerSettings` and `ProcessSettings`, handed to
the room process; or an import of gearmand's queue, and its end.
Open `command_line.py` first. `options.py` is the whole list, of which `listen_options.py` and `queue_options.py` hold
two chapters; `import_command.py` is `gearman-server import`.
"""
