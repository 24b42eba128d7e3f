"""Finished jobs: how attempts and jobs ended, collected from the job servers and kept in a file of their own.

In: the ends of late of each job server that keeps them (`jobs finished`), asked for about once a second by
`collector.py`. Out: each batch of them, at once, to whoever has subscribed; and pages of those that are kept
(`keeper.py`), found by handle, unique key, function, tag, text, time and outcome. The file is bounded by rows, age
and size, and its loss costs the history alone. It is not that of the actions: a search or a full file of jobs holds up
nothing else. `again.py` has them run again as new jobs. Open `keeper.py` first, `attempt.py` for what is known of an
end.
"""
