"""The user's modules: which files there are, what is in them, what they need, and how they are imported.

In: the workers folders. Out: functions and hooks that can be called, errors with file and line, the files on which each
module depends, and which modules must not be imported before a fork.

`discovery` finds and imports, `user_code` holds what a worker may call, `hooks` what runs around jobs; `import_graph`
and `taint` look at what an import has brought along. Modules are imported in zygotes and workers, never in the
supervisor: user code may do anything. Standard library only. Open `discovery` first.
"""
