"""Which functions of a module are tasks, and how a worker calls them with the arguments of a workload."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gearman_manager.job import Job
from gearman_manager.modules.discovery import Discovery, load_all
from gearman_manager.verdict import Reject


class Assigned:
    """A job as it comes from the client library, as far as a task looks at it."""

    handle = "H:1"
    function = "f"

    def __init__(self, workload: bytes) -> None:
        self.workload = workload


@pytest.fixture
def discover(tmp_path: Path) -> Callable[[str], Discovery]:
    """Load a folder that holds this module."""

    def load(source: str) -> Discovery:
        (tmp_path / "shop.py").write_text(dedent(source))
        return load_all([tmp_path])

    return load


@pytest.fixture
def run(discover: Callable[[str], Discovery]) -> Callable[..., Any]:
    """Load a module with one function, and call that as a worker does."""

    def call(source: str, workload: bytes) -> Any:
        found = discover(source)
        assert not found.errors
        (function,) = found.functions
        assigned: Any = Assigned(workload)
        target = function.target().run if isinstance(function.target, type) else function.target
        return function.called(target)(Job(assigned, {}, logging.getLogger("f")))

    return call


ORDER = """
    from __future__ import annotations
    from dataclasses import dataclass
    from datetime import date
    from gearman_manager import Job, function

    @dataclass
    class Order:
        number: int
        on: date

    @function(timeout="3s")
    def ship(order: Order, *, to: str = "x") -> Order:
        return Order(order.number + 1, order.on)
"""


def test_the_arguments_of_a_workload_reach_the_function_by_their_annotations(run: Callable[..., Any]) -> None:
    workload = b'{"args": [{"number": 1, "on": "2026-01-02"}], "kwargs": {"to": "y"}}'
    assert run(ORDER, workload) == b'{"number": 2, "on": "2026-01-02"}'


def test_a_mismatch_rejects_the_job_by_the_name_of_the_field(run: Callable[..., Any]) -> None:
    with pytest.raises(Reject, match=r"^order.number: expected a whole number, not text$"):
        run(ORDER, b'{"args": [{"number": "1", "on": "2026-01-02"}]}')
    with pytest.raises(Reject, match=r"^order: is missing$"):
        run(ORDER, b"")
    with pytest.raises(Reject, match="the workload is no call of a task"):
        run(ORDER, b"hello")


def test_what_the_function_does_not_know_is_passed_over_and_told_once(
    run: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    source = "from gearman_manager import function\n@function\ndef f(number: int) -> int: return number\n"
    assert run(source, b'{"args": [1, 2], "kwargs": {"new": 3}}') == b"1"
    assert [record.getMessage() for record in caplog.records] == [
        "passed over, because the function has no such parameter: 1 more by position",
        "passed over, because the function has no such parameter: 'new'",
    ]


def test_a_task_gets_the_job_where_an_annotation_asks_for_it(run: Callable[..., Any]) -> None:
    source = """
        from gearman_manager import Job, function

        @function
        def f(number: int, job: Job) -> str:
            return f"{number} {job.handle}"
    """
    assert run(source, b'{"args": [1]}') == b'"1 H:1"'


def test_a_class_whose_run_has_annotated_parameters_takes_arguments(run: Callable[..., Any]) -> None:
    source = """
        from gearman_manager import function

        @function(name="f")
        class F:
            def run(self, number: int) -> int:
                return number + 1
    """
    assert run(source, b'{"kwargs": {"number": 1}}') == b"2"


def test_a_task_of_the_client_library_is_one_of_the_manager_too(run: Callable[..., Any]) -> None:
    source = "from gearman_client import task\n@task\ndef f(number, other=1): return [number, other]\n"
    assert run(source, b'{"args": [1]}') == b"[1, 1]"


@pytest.mark.parametrize(
    "source",
    [
        "@function\ndef f(job): return job.workload",
        "@function\ndef f(job: Job) -> bytes: return job.workload",
        "@function\ndef f(job: Any): return job.workload",
        "@function\nclass f:\n    def run(self, job: Job) -> bytes: return job.workload",
        "@function\nclass f:\n    def run(self, job): return job.workload",
    ],
)
def test_all_other_functions_get_the_job(run: Callable[..., Any], source: str) -> None:
    assert run(f"from typing import Any\nfrom gearman_manager import Job, function\n{source}\n", b"hello") == b"hello"


def test_a_function_of_many_jobs_gets_them_whatever_its_annotations(discover: Callable[..., Discovery]) -> None:
    found = discover("from gearman_manager import function, Job\n@function(batch=5)\ndef f(jobs: list[Job]): ...\n")
    (function,) = found.functions
    assert (function.task, function.options) == (None, {"batch": 5})


def test_a_result_without_a_form_rejects_the_job_because_its_work_is_done(run: Callable[..., Any]) -> None:
    source = "from gearman_manager import function\n@function\ndef f(number: int): return [object()]\n"
    with pytest.raises(Reject, match=r"the result can't be sent: \[0\] is of type object"):
        run(source, b'{"args": [1]}')


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("@function\ndef f(call: complex): ...", "shop.py:4: 'f' can't take arguments as a task: the parameter call: "
         "complex has no form in JSON: use text, numbers"),
        ("@function\ndef f(call: 'Missing'): ...", "the annotation 'Missing' of call can't be resolved"),
        ("@task(batch=3)\ndef f(call: int): ...", "'f' is a task, and takes no list of jobs: leave out batch"),
        ("@function\ndef f(call: int):\n    yield 1", "'f' is a generator function"),
    ],
)  # fmt: skip
def test_a_task_that_can_not_be_called_is_an_error_of_its_module(
    discover: Callable[..., Discovery], source: str, complaint: str
) -> None:
    (error,) = discover(f"from gearman_client import task\nfrom gearman_manager import function\n\n{source}\n").errors
    assert complaint in str(error)


def test_the_line_is_that_of_the_function(discover: Callable[..., Discovery]) -> None:
    (function,) = discover("from gearman_manager import function\n\n@function\ndef f(a: int): ...\n").functions
    assert function.line == 3
