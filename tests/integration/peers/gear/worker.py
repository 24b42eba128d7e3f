"""A worker with gear, from PyPI: `worker.py PORT PREFIX COUNT` serves COUNT jobs of the functions PREFIX_reverse,
PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing.
"""

from __future__ import annotations

import sys

import gear


def reverse(job: gear.WorkerJob) -> None:
    job.sendWorkComplete(job.arguments[::-1])


def steps(job: gear.WorkerJob) -> None:
    job.sendWorkStatus(1, 2)
    job.sendWorkData(b"\0piece")
    job.sendWorkWarning(b"careful")
    job.sendWorkStatus(2, 2)
    job.sendWorkComplete(b"done")


def fail(job: gear.WorkerJob) -> None:
    job.sendWorkFail()


def throw(job: gear.WorkerJob) -> None:
    job.sendWorkException(b"no " + job.arguments)


def main(port: str, prefix: str, count: str) -> None:
    functions = {f"{prefix}_{function.__name__}": function for function in (reverse, steps, fail, throw)}
    worker = gear.Worker("gear")
    worker.addServer("127.0.0.1", int(port))
    for name in functions:
        worker.registerFunction(name)
    for _ in range(int(count)):
        job = worker.getJob()
        functions[job.name](job)
    worker.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
