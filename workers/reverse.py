"""The workload, backwards: the smallest module there is. The file's name is the function's name."""


def reverse(job):
    return job.workload[::-1]
