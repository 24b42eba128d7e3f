"""Durable stores: background jobs kept in SQLite, PostgreSQL or MySQL by group commit, through SQLAlchemy Core alone.

In: what the broker has a `Store` (jobs/store.py) keep: inserts, updates and deletes of jobs, dead letters, results,
marks of schedules. Out, on the loop's thread: what became of each insert; whether the store is in trouble; and at the
start the jobs, letters, results and marks of an earlier run. Nothing in here decides about jobs.
Open `sql_store.py` first: it fills a `Batch`, and hands it to the `Writer`, whose thread writes it by `database.py`;
`backends.py` holds what differs between databases. `loading.py` brings stored jobs back, by threads that only read.
"""
