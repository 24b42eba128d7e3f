"""The guide's tables name each call of PHP's extension and of Perl's modules, so that nobody looks for one in vain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs"

#: The public methods of the classes of PHP's extension gearman 2.1, without those that every class has.
PHP = {
    "client/first-steps.md client/many-jobs.md": """
        addServer addServers timeout setTimeout options setOptions addOptions removeOptions wait
        returnCode error getErrno
        doNormal doHigh doLow doBackground doHighBackground doLowBackground doJobHandle doStatus
        jobStatus jobStatusByUniqueKey ping enableExceptionHandler context setContext
        addTask addTaskHigh addTaskLow addTaskBackground addTaskHighBackground addTaskLowBackground
        addTaskStatus runTasks
        setWorkloadCallback setCreatedCallback setDataCallback setWarningCallback setStatusCallback setCompleteCallback
        setExceptionCallback setFailCallback clearCallbacks
        functionName unique jobHandle isKnown isRunning taskNumerator taskDenominator data dataSize
        sendWorkload recvData
        """,
    "client/worker.md": """
        addServer addServers timeout setTimeout options setOptions addOptions removeOptions wait
        returnCode error getErrno
        setId register unregister unregisterAll grabJob addFunction work ping
        handle functionName unique workload workloadSize setReturn sendData sendWarning sendStatus sendComplete
        sendException sendFail
        """,
}
#: The documented methods and options of Gearman::Client and its kin, version 2.004, but for hooks.
PERL = {
    "client.md": "get_job_server_status get_job_server_jobs get_job_server_clients",
    "client/first-steps.md client/many-jobs.md client/failover.md": """
        job_servers exceptions prefix command_timeout backoff_max do_task dispatch_background get_status
        new_task_set add_task wait cancel uniq priority high_priority timeout try_timeout retry_count background
        on_complete on_fail on_retry on_status on_data on_warning on_exception is_finished
        """,
    "client/worker.md": """
        job_servers client_id prefix register_function unregister_function reset_abilities work stop_if
        on_start on_complete on_fail arg argref handle set_status
        send_work_complete send_work_data send_work_warning send_work_exception send_work_fail send_work_status
        """,
}


@pytest.mark.parametrize(
    ("language", "pages", "names"),
    [(language, pages, names) for language, calls in (("PHP", PHP), ("Perl", PERL)) for pages, names in calls.items()],
)
def test_the_tables_have_each_call_of_php_and_perl(language: str, pages: str, names: str) -> None:
    cells = [cell for page in pages.split() for cell in cells_of(language, (GUIDE / page).read_text())]
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", " ".join(cells)))))
    assert sorted(set(names.split()) - named) == []


def cells_of(language: str, page: str) -> Iterator[str]:
    """The cells of a language's column, in the tables that show other libraries' calls beside ours."""
    for table in re.findall(r"(?:^\|.*\n?)+", page, re.M):
        heading, _, *rows = [line.strip()[1:-1].split("|") for line in table.splitlines()]
        column = next((n for n, each in enumerate(heading) if each.split()[:1] == [language]), None)
        if column is not None and heading[-1].strip() == "here":
            yield from (row[column] for row in rows)
