"""The command `import`: jobs of a gearmand's table become rows of our store.

In: the URLs of both databases. Out: committed rows. Open `import_jobs.py` first; `gearmand_queue.py` knows the other
table.
"""
