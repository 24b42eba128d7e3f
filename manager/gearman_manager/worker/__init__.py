"""The processes in which the user's code runs, and the zygote that forks most of them.

In: an `order` from the supervisor, and jobs from the job servers. Out: answers to the jobs; reports to the supervisor
by the scoreboard, the doorbell and the exit code.

`zygote` imports the modules and forks a `worker`, which runs one job at a time, a `set_worker`, which gets several at
once, or an `async_worker` with an asyncio loop; a `concurrent_worker`, started by exec, has greenlets. They share
`worker_base`, the last two `side_by_side`, and `function_call`, which runs one job (`batch_call`: a list). Limits:
`wear` (jobs, memory, files), `timeout_by_signal`, `timeout_in_greenlets`, `timeout_on_loop`. Only `concurrent_worker`
and its time limits know gevent, and nothing here knows the configuration. Open `worker` first.
"""
