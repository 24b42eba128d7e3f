"""How many workers each pool should have: from the job servers' queues to the pools' targets.

In: the servers' queues, the counters of the scoreboard, the pools' settings, the host's free resources. Out: each
pool's `target`; `pools` starts workers or sends them away until it has that many.

`queues` listens to the servers, in the language of `queue_dialogue`. `autoscaler` asks the pure parts in turn:
`windows` (the bounds at this time of day), `neighbours` (other managers and workers for these functions), `steps`
(demand, share, pace), and `allotment` (the workers of all pools together). `decision` tells in a sentence why.
`host_guards` says when the machine has no room, `pool_sizes` between which bounds a pool may move. Nothing here starts
a process. Open `autoscaler` first, then `steps`.
"""
