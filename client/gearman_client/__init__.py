"""Gearman from Python: packet codec, client, worker and administration, with the standard library alone."""

__version__ = "0.1.0"
