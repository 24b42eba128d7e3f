"""The command `gearman-manager`: what an operator types, and what is printed in answer.

In comes a command line; out go text, JSON and a named exit code. `command_line` puts the words together; the others are
beside it, a page each: `control_commands` (scale, pause, logs …), `job_commands`, `schedule_commands`, `import_ini`.
`context` is what all share: the configuration, the running manager, mistakes as messages. `launch` becomes the manager,
`check` and `run_function` work without one, `control_client` asks one that runs.

Only here click and rich are used for what people read. Whatever is heavy is imported by the command that needs it, so
that `--help` and `status` answer at once. Open `command_line` first.
"""
