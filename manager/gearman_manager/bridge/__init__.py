"""PHP functions in a workers folder: the worker program that serves them (PHP), and how it is found and run.

In: files NAME.php in the workers folders, and a worker's order as JSON in the environment variable GEARMAN_BRIDGE. Out:
the functions that were found, and worker processes that serve them and log to standard error.
Open `order.py` first for the manager's side, then `bridge.php`, where the program starts, and `Worker.php`, its loop.
Nothing here imports the manager's pools: they run the bridge like any other program.
"""
