"""Alerts: tells people of troubles by mail, web address or program, without Prometheus.

In: the live objects of pools, queues and job servers, looked at once a second. Out: messages, each about all that is
new. `snapshot.py` is what a look sees, `memory.py` since when it is so; `rules.py` says by pure functions what of that
is a trouble; `board.py` decides when to tell, `wording.py` in which words. Open `watch.py` first, which joins them.
`server_questions.py` asks the job servers what only they know. `deliveries.py` hands messages to processes of their own
(`deliver.py`), which do the waiting; `targets.py` says who is told, `named_targets.py` those of a configuration, and
`ways.py` are the three ways.
"""
