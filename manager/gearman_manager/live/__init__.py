"""How all is now, and what changes: for pages that stay open.

In: the live objects of pools, scaler and queues. Out: the overview (`overview.py`), with a list of what is wrong
(`troubles.py`) and a tile for each worker (`tiles.py`); and a stream of changes (`event_stream.py`). While somebody
follows the stream the overview is made again and again, and what differs (`changes.py`) goes into a ring of bounded
size (`event_ring.py`), from which each follower reads at its own pace. Nobody there: nothing is done.
`urgency.py` has the order in which states are shown. Open `overview.py` first.
"""
