"""The server as a process of its own: background, user, log, pid file, signals, memory.

In: a `Server` and the command line's settings for its process. Out: an exit, or a StartError that says why not.
It decides nothing about jobs. The parts that the manager needs too are in gearman_process.
Open `main.py` first: it does all this in the right order; then `server_process.py`, which ends the server.
"""
