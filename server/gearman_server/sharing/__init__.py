"""Several servers on one store: who they are, whose the jobs are, and who takes over a dead one's.

In: the settings of a cluster. Out: a `SharedStore`, which the broker uses like any other store. Begin with
`shared_store.py`; `ownership.py` is what makes it safe, `heart.py` what makes it quick. What is decided without a
database is in the room `cluster`.
"""
