"""The worker processes of all pools: started, watched, replaced, ended.

In: an order for each pool (`pool_order.py`), its target from scaling, and what the kernel and the zygotes report. Out:
processes, signals, and a log line for each end. `pool.py` decides what becomes of a pool's workers and is pure, as are
`pool_state.py` (the table of a pool's states) and `crash_backoff.py`.
Open `workforce.py` first, the process table; then `pool.py`. `worker_start.py` starts a worker: by a fork of one of the
`zygotes.py`, or by exec (`concurrent_start.py`, `program.py`). `exits.py` says how a worker ended.
"""
