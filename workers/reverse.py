"""The workload, backwards: the smallest possible module. The file has the function's name."""


def reverse(job):
    return job.workload[::-1]
