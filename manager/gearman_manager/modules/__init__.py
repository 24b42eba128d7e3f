"""The user's modules: their files, their functions, the files that they need, and their import.

In: the workers folders. Out: functions and hooks that can be called, errors with file and line, the files on which each
module depends, and which modules must not be imported before a fork.

`source_files` finds the files, `importing` names the modules, `discovery` imports them; `signatures` says what can't be
called. `user_code` holds the functions for a worker to call, `hooks` the code around jobs; `import_graph` and `taint`
find the effects of an import. Modules are imported in zygotes and workers, never in
the supervisor: user code may do anything. Standard library only. Open `discovery` first.
"""
