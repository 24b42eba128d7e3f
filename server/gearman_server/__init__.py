"""A Gearman job server on gevent. It is started as a process of its own and never imports the manager."""

__version__ = "0.1.0"
