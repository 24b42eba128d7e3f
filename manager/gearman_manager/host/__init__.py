"""The machine as the kernel shows it: processes, control groups, memory.

In come process ids and descriptors; out go children started by exec, exit statuses, limits and readings. `process`
starts, signals and reaps; `cgroup` says what this process may use; `memory` how much of it is its own. Nothing here
knows a pool, a worker or a job. `memory` is light, because workers import it; `process` needs psutil. Open `process`
first.
"""
