"""A call is split into a function's arguments: what fits, what is missing, what is passed over, and the job."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from gearman_client.errors import ArgumentError, ResultNotDecoded
from gearman_client.typed_json.call import OutcomeCodec, encode_call, encode_outcome, split_call
from gearman_client.typed_json.decoders import decoder_of
from gearman_client.typed_json.mismatch import CallRefused, Mismatch, UnsupportedAnnotation
from gearman_client.typed_json.served_call import ServedCall
from gearman_client.typed_json.signature import TaskSignature

if TYPE_CHECKING:
    from somewhere import Job, Other  # type: ignore[import-not-found]


class TheJob:
    is_gearman_job = True


def plain(job): ...  # type: ignore[no-untyped-def]
def any_job(job: Any) -> bytes: ...  # type: ignore[empty-body]
def known_job(job: TheJob) -> bytes: ...  # type: ignore[empty-body]
def named_job(job: Job) -> bytes: ...  # type: ignore[empty-body]
def optional_job(job: Job | None = None) -> bytes: ...  # type: ignore[empty-body]
def two(job, option=None): ...  # type: ignore[no-untyped-def]
def job_and_number(job, number: int = 3) -> None: ...  # type: ignore[no-untyped-def]
def none() -> None: ...
def one(number: int) -> None: ...
def late(job: TheJob, number: int = 3) -> None: ...
def only_keyword(*, to: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "is_task"),
    [
        (plain, False),
        (any_job, False),
        (known_job, False),
        (named_job, False),
        (optional_job, False),
        (two, False),
        (job_and_number, False),
        (none, True),
        (one, True),
        (late, True),
        (only_keyword, True),
    ],
)
def test_a_function_with_annotated_parameters_is_a_task(function: Callable[..., Any], *, is_task: bool) -> None:
    assert TaskSignature(function).is_task is is_task


def test_a_wrapper_of_any_arguments_counts_as_what_it_wraps() -> None:
    @functools.wraps(one)
    def passes_on(*args: Any, **kwargs: Any) -> None:
        one(*args, **kwargs)

    @functools.wraps(one)
    def takes_job(job):  # type: ignore[no-untyped-def]
        one(int(job.workload))

    assert TaskSignature(passes_on).is_task
    assert not TaskSignature(takes_job).is_task


def mixed(first: int, job: TheJob, /, second: date, *more: int, to: str = "x", **others: float) -> None: ...


def open_to_all(first: int, *, job: TheJob, **others: int) -> None: ...


def few(first: int, second: str = "s") -> None: ...


JOB = TheJob()


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "bound"),
    [
        (few, [1], {}, ((1,), {}, [])),
        (few, [], {"second": "b", "first": 1}, ((1, "b"), {}, [])),
        (few, [1, "b", 3], {"new": 4}, ((1, "b"), {}, ["1 more by position", "'new'"])),
        (none, [1], {"a": 2}, ((), {}, ["1 more by position", "'a'"])),
        (mixed, [1, "2026-01-02"], {}, ((1, JOB, date(2026, 1, 2)), {"to": "x"}, [])),
        (mixed, [1], {"second": "2026-01-02", "f": 1}, ((1, JOB, date(2026, 1, 2)), {"to": "x", "f": 1.0}, [])),
        (mixed, [1, "2026-01-02", 3, 4], {}, ((1, JOB, date(2026, 1, 2), 3, 4), {"to": "x"}, [])),
        (late, [], {"job": 5}, ((JOB,), {}, ["'job'"])),
        (late, [7], {}, ((JOB, 7), {}, [])),
        (mixed, [1, "2026-01-02"], {"job": 5.5}, ((1, JOB, date(2026, 1, 2)), {"to": "x", "job": 5.5}, [])),
        (open_to_all, [1], {"job": 5, "a": 2}, ((1,), {"job": JOB, "a": 2}, ["'job'"])),
    ],
)  # fmt: skip
def test_arguments_are_bound(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], bound: Any) -> None:
    assert TaskSignature(function).readers()(args, kwargs, JOB) == bound


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "complaint"),
    [
        (few, [], {}, "first: is missing"),
        (few, ["1"], {}, "first: expected a whole number, not text"),
        (few, [1], {"first": 1}, "first: is given twice, by position and by name"),
        (few, [1], {"second": None}, "second: expected text, not null"),
        (mixed, [1, "2026-01-02", 3, "4"], {}, r"more\[1\]: expected a whole number"),
        (mixed, [1, "2026-01-02"], {"f": "a"}, "f: expected a number"),
        (mixed, [], {"first": "a", "second": "2026-01-02"}, "first: expected a number"),  # only **others takes it
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Mismatch, match=f"^{complaint}"):
        TaskSignature(function).readers()(args, kwargs, JOB)


def unknown(other: Other) -> None: ...
def without_form(call: Callable[[], int]) -> None: ...


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (unknown, "the annotation 'Other' of other can't be resolved: import it outside of `if TYPE_CHECKING`"),
        (without_form, "the parameter call: .* has no form in JSON"),
    ],
)
def test_an_annotation_that_can_not_be_read_is_refused_at_once(function: Callable[..., Any], complaint: str) -> None:
    with pytest.raises(UnsupportedAnnotation, match=complaint):
        TaskSignature(function).readers()


def test_callers_fill_all_but_the_job() -> None:
    signature = TaskSignature(late)
    signature.check_call((), {"number": 1})
    with pytest.raises(TypeError, match="unexpected keyword argument 'job'"):
        signature.check_call((), {"job": 1})
    with pytest.raises(TypeError, match=r"only_keyword\(\): missing a required argument: 'to'"):
        TaskSignature(only_keyword).check_call((), {})


@pytest.mark.parametrize(
    ("workload", "call"),
    [
        (b"", ([], {})),
        (b" \n", ([], {})),
        (b'{"args": [1], "kwargs": {"a": 2}, "id": 3}', ([1], {"a": 2})),
        (b'{"args": []}', ([], {})),
        (b'{"args": [], "kwargs": []}', ([], {})),
        (encode_call((1, date(2026, 1, 2)), {"b": b"x"}), ([1, "2026-01-02"], {"b": "eA=="})),
    ],
)
def test_a_workload_is_a_call(workload: bytes, call: Any) -> None:
    assert split_call(workload) == call


@pytest.mark.parametrize(
    ("workload", "complaint"),
    [
        (
            b"hello",
            r"no call of a task: expected {\"args\": \[…\], \"kwargs\": {…}}, and it is not JSON: Expecting value",
        ),
        (b"\xff", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"args": [NaN]}', "it is not JSON: JSON has no NaN"),
        (b'{"args": [-Infinity]}', "it is not JSON: JSON has no -Infinity"),
        (b'{"' + b"x" * 1000 + b'": 1}', "not an object with 'x{60}…'"),
        (b"5", "not a number"),
        (b'{"to": 1}', "not an object with 'to'"),
        (b"{}", "not an empty object"),
        (b'{"args": {}}', "args of the workload: expected a list, not an object"),
        (b'{"kwargs": [1]}', "kwargs of the workload: expected an object, not a list"),
    ],
)
def test_any_other_workload_is_refused(workload: bytes, complaint: str) -> None:
    with pytest.raises(Mismatch, match=complaint):
        split_call(workload)


def test_an_argument_without_a_form_in_json_is_refused_by_its_place() -> None:
    with pytest.raises(ArgumentError, match=r"\['kwargs'\]\['to'\]\[1\] is of type object"):
        encode_call((), {"to": [1, object()]})
    with pytest.raises(ArgumentError, match=r"\['args'\]\[0\] is nan"):
        encode_call((float("nan"),), {})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ArgumentError, match=r"\['args'\]\[0\]\[0\] holds itself"):
        encode_call((endless,), {})


def test_results_are_json_except_bytes() -> None:
    assert encode_outcome("text") == b'"text"'
    assert encode_outcome(b"\xff") == b"\xff"
    assert encode_outcome(None) == b"null"
    assert OutcomeCodec("f", bytes, decoder_of(bytes)).decode(b"\xff") == b"\xff"
    assert OutcomeCodec("f", Any, decoder_of(Any)).decode(b"") is None
    assert OutcomeCodec("f", date, decoder_of(date)).decode(b'"2026-01-02"') == date(2026, 1, 2)
    with pytest.raises(ResultNotDecoded, match="the result of f is not JSON"):
        OutcomeCodec("f", Any, decoder_of(Any)).decode(b"hello")
    with pytest.raises(ResultNotDecoded, match="the result of f does not fit its annotation: expected text"):
        OutcomeCodec("f", str, decoder_of(str)).decode(b"5")


@dataclass
class Link:
    to: Link | None = None


def follow(link: Link) -> None: ...


def test_values_nested_too_deep_are_refused_on_both_sides() -> None:
    deep = b'{"to":' * 600 + b"null" + b"}" * 600
    served = ServedCall(TaskSignature(follow)).called_by(follow, is_async=False)
    with pytest.raises(CallRefused, match="the arguments are nested too deep"):
        served(SimpleNamespace(workload=b'{"args": [' + deep + b"]}"))
    with pytest.raises(ResultNotDecoded, match="the result of f is nested too deep"):
        OutcomeCodec("f", Link, decoder_of(Link)).decode(deep)
