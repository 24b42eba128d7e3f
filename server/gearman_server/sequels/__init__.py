"""What follows the end of a job: batches of jobs with their callbacks, and chains. Pure.

In: the ends of jobs whose options say so (`jobs/job_life`), requests about batches (rooms requests and text_commands).
Out: background jobs that are submitted exactly once, in the transaction of what they follow from. Open `sequels.py`
first; `job_batches.py` has the batches, `job_batch.py` one of them, `owed_jobs.py` makes the jobs.
"""
