"""The worker processes of all pools: starts, watches, replaces and ends them.

In: an order for each pool (`pool_order.py`), its target from scaling, and reports of the kernel and the zygotes. Out:
processes, signals, and a log line for each end. `pool.py` plans for a pool's workers and is pure, as are
`pool_state.py` (the table of a pool's states) and `crash_backoff.py`.
Open `workforce.py` first, the process table; then `pool.py`. `worker_start.py` starts a worker: a zygote forks it
(`zygote_process.py` starts one and talks to it, `zygotes.py` holds those that live), or we exec it
(`concurrent_start.py`, `program.py`). `exits.py` logs how a worker ended.
"""
