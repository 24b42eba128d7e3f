"""How many workers each pool should have: from the job servers' queues to the pools' targets.

In: what the servers say of their queues, the counters of the scoreboard, the pools' settings, what the host has left.
Out: `target` of each pool; that many workers are started or sent away by `pools`.

`queues` listens to the servers, `queue_dialogue` is what is said there. `autoscaler` asks the pure parts, in turn
`neighbours` (who else serves these functions), `steps` (demand, share, pace), `allotment` (what the pools may have
together). `host_guards` says when the machine has no room. Nothing here starts or ends a process. Open `autoscaler`
first, then `steps`.
"""
