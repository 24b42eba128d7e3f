"""`gearman --result`: prints the kept result of a background job, in the form of a foreground job's result."""

from __future__ import annotations

from collections.abc import Sequence

from gearman_client.address import Address
from gearman_client.client.client import Client
from gearman_client.commands.command_line import ExitCode
from gearman_client.commands.submitting import Output
from gearman_client.errors import JobException, JobFailed
from gearman_client.text import to_body


def fetch(servers: Sequence[Address], handle: str, timeout_s: float | None) -> int:
    """Wait for the result, for at most `timeout_s`, and print it; returns the exit code."""
    output = Output(prefix=False)
    with Client(servers) as client:
        try:
            result = client.result(
                handle,
                timeout_s=timeout_s,
                on_data=lambda data: output.result("", data),
                on_warning=lambda data: output.complaint("", data),
                on_status=lambda numerator, denominator: output.progress("", numerator, denominator),
            )
        except JobException as error:
            output.complaint("", error.data.removesuffix(b"\n") + b"\nJob failed\n")
            return ExitCode.FAILURE
        except JobFailed as error:
            output.complaint("", to_body(f"{error}\n"))
            return ExitCode.FAILURE
        output.result("", result)
    return ExitCode.SUCCESS
