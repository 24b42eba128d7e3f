"""Durable stores: background jobs kept in SQLite, PostgreSQL or MySQL by group commit, through SQLAlchemy Core alone.

`SqlStore` is what the broker sees; one native thread writes, another reads. Nothing in here decides about jobs.
"""
