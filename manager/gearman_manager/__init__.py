"""A supervisor for pools of Gearman workers. Importing it in a worker module is light: no gevent, no Flask, no SQL."""

__version__ = "0.1.0"
