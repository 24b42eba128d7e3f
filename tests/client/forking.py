"""A check in a forked child of the test."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(check: Callable[[], object]) -> None:
    """Run `check` in a forked child; an assertion that fails there fails here."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        report = b"never reported"
        try:
            check()
            report = b"fine"
        except BaseException as error:  # noqa: BLE001 (the child must not run on in the test runner)
            report = repr(error).encode()
        finally:
            os.write(writer, report)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    assert said == "fine"
