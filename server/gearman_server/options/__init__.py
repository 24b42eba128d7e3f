"""Options that a job brings along: read from a packet or a row, checked, and given on. Pure.

In: the pairs of SUBMIT_JOB_WITH, or of a row. Out: a `SubmissionOptions`, and in it the `JobOptions` that stay with the
job. Open `job_options.py` for what there is, and `reading.py` for what each key may be. `timing.py` is about schedules
alone, `text_search.py` about what operators look for.
"""
