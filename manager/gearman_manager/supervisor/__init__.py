"""The supervisor: one manager from its start to its end. It never imports user code.

In: the configuration, the run folder, and the news of everything below (a worker that died or registered, a changed
queue or file, a signal, a request). Out: an exit code, and until then as many workers as are wanted, with new code.
Open `supervisor.py` first for start, loop and end, then `build.py`, which makes the parts in order. `arrangement.py`
hands a new generation to all of them, `reload.py` carries out the wishes to reload, `life.py` has the table of states.
Beside the loop work `limit_enforcer.py` and `orphan_reaper.py`; `announcer.py` tells the service manager.
"""
