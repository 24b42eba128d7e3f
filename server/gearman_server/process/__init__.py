"""The server as a process of its own: background, user, log, pid file, signals, memory.

In: a `Server` and what the command line says about its process. Out: an exit, or a StartError that says why not.
It decides nothing about jobs. What the manager needs as well is in gearman_process.
Open `main.py` first: it does all this in the order that works; then `server_process.py`: what ends the server.
"""
