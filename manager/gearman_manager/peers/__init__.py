"""The other managers of `control.peers`: each is asked over its own API, and its last word is kept.

In: the addresses and tokens of the peers. Out: a report of all of them, for the page of managers and the API, and this
manager's own summary, which is what peers ask for. Peers are others: what they answer is bounded, checked, and never
trusted to be text without markup. Open `watch.py` first; `asking.py` speaks HTTP.
"""

from __future__ import annotations
