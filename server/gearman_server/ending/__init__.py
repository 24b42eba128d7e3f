"""Ends that are no success: an attempt that failed or was lost, a job that was not begun in time. Pure.

In: calls from the rooms requests and text_commands. Out: changes of the job (`jobs/job_life`), dead letters, events.
Open `attempts.py` first: whether another attempt follows. `expiry.py` ends jobs that are not worth it any more;
`counting.py` has how the jobs of each function fare counted, and `late_ends.py` keeps the last ends, successes too.
"""
