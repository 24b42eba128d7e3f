"""Which submissions are one job, beyond the unique key of a job that lives: keys that outlive it, new workloads. Pure.

In: submissions and ends of jobs. Out: handles of jobs that are known already, and what the store is to remember. Open
`known_keys.py` first; `replacing.py` puts a newer workload in place of a waiting one.
"""
