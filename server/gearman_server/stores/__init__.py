"""Durable stores: background jobs kept in SQLite, PostgreSQL or MySQL by group commit, through SQLAlchemy Core alone.

In: the broker's changes, by its seam `Store` (jobs/store.py): inserts, updates and deletes of jobs, dead letters,
results, marks of schedules. Out, on the loop's thread: each insert's outcome, the store's troubles, and at the start
the jobs, letters, results and marks of an earlier run. Nothing in here decides about jobs.
Open `sql_store.py` first: it fills a `Batch`, and hands it to the `Writer`, whose thread writes it by `database.py`;
`backends.py` holds the differences between databases. `reading.py` selects stored rows, and `loading.py` brings them
back, by threads that only read. The tables beside the jobs' have a file each, `*_table.py`. `importing.py` is another
matter: it takes over what gearmand has stored.
"""
