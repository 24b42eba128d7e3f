"""Jobs whose server is gone while workers run them: they go on, and are not run again. Pure.

In: the words of workers and supervisors (`words.py`), and jobs that came from the store. Out: jobs that a worker here
has, or that nobody runs. Begin with `orphans.py`.
"""
