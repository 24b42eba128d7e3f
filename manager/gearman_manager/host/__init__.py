"""The machine as the kernel shows it: processes, control groups, memory.

In: process ids and descriptors. Out: children started by exec, exit statuses, limits and readings. `process` starts,
signals and reaps; `cgroup` tells the limits of this process, `memory` the memory that is a process's own. Nothing here
knows a pool, a worker or a job. `memory` is light, because workers import it; `process` needs psutil. Open `process`
first.
"""
