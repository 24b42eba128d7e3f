"""Values as people write them in options and configuration files: durations, sizes, rates.

In: a text such as `500ms`, `300MB` or `5/s`. Out: a number, in seconds or bytes, or an error whose text says what would
be right. Durations and sizes can be written again, so that messages show them as people write them.
Open `durations.py` first; all three share `bare_numbers.py` and `quoting.py`.
"""
