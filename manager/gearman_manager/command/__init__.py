"""The command `gearman-manager`: its words, options and printed answers.

In: a command line. Out: text, JSON and a named exit code. `command_line` puts the commands together; most are in files
of their own: `control_commands` (scale, pause, logs …), `job_commands`, `schedule_commands`, `import_ini`. `context` is
shared by all: the configuration, the running manager, mistakes as messages. `launch` becomes the manager, `check` and
`run_function` work without one, `control_client` asks one that runs.

Each command imports the heavy parts that it needs, so that `--help` and `status` answer at once. Open `command_line`
first.
"""
