"""Functions as tasks: a decorated function is called as before, and its methods send the call as a job.

In: a function with its signature. Out: the same call on a worker, checked by the type checker and by the worker.
Open `task.py` first. `default_client.py` holds the client of tasks that name none. Nothing here is loaded before a
program decorates a function.
"""
