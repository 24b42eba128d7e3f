"""Fair shares and limits within a function, by the keys of its jobs. Pure.

In: a function's `KeyPolicy`, and holds that its workers ask for. Out: queues and a throttle in place of the plain ones.
Open `key_table.py` first: the keys, and how many jobs of each may start; then `keyed_queue.py`, in which they take
turns. `key_rules.py` puts both into functions, and takes them out again.
"""
