"""The destinations of a log's lines: streams that may be slow, files, the system's log.

In: a line. Out: a written one, or an OSError at once: no destination makes the process wait long.
Open `patient_stream.py` first.
"""
