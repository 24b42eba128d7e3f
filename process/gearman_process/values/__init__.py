"""Values as people write them in options and configuration files: durations, sizes, rates.

In: a text such as `500ms`, `300MB` or `5/s`. Out: a number, in seconds or bytes, or an error whose text says what would
be right. Each module writes its values too, so that what was read can be shown again.
Open `durations.py` first; `bare_numbers.py` and `quoting.py` have what all three share.
"""
