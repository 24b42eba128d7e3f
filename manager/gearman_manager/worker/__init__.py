"""The processes in which the user's code runs, and the zygote that forks most of them.

In comes an `order` from the supervisor, and jobs from the job servers. Out go answers to these, and what the supervisor
must know: by the scoreboard, by the doorbell, by the exit code.

`zygote` imports the modules and forks a `worker`, which runs one job at a time; a `concurrent_worker`, started by exec,
runs several in greenlets. What both are is `worker_base`, one call of a function `function_call`. Limits: `wear` (jobs,
memory, files), `timeout_by_signal`, `timeout_in_greenlets`. Only `concurrent_worker` and its time limits know gevent,
and nothing here knows the configuration. Open `worker` first.
"""
