"""What a server that shares its store with others decides: pure, as the broker is.

In: the members of the cluster, as the store tells of them, and rows of jobs that are ours now. Out: whom to declare
dead, and jobs in the broker's table. Begin with `members.py` and `watch.py`.
"""
