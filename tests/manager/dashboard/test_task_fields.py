"""A form for the parameters of an annotated function."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearman_manager.dashboard.task_fields import PREFIX, Field, fields_of, workload_of
from gearman_manager.errors import ManagerError

SIGNATURE = "(to: str, times: int = 1, share: float = 0.5, *, loud: bool, who: people.Person = None) -> str"


def call(parameters: str, **given: str) -> Any:
    form = {PREFIX + name: text for name, text in given.items()}
    return json.loads(workload_of(fields_of(parameters), form))


def test_each_parameter_has_a_field_of_its_kind() -> None:
    assert fields_of(SIGNATURE) == [
        Field("to", "text", "str", None, False),
        Field("times", "number", "int", "1", False),
        Field("share", "number", "float", "0.5", False),
        Field("loud", "flag", "bool", None, False),
        Field("who", "json", "people.Person", "None", False),
    ]


def test_the_fields_make_the_workload_of_a_call() -> None:
    assert call(SIGNATURE, to="7", loud="true") == {"args": [], "kwargs": {"to": "7", "loud": True}}
    whole = call(SIGNATURE, to="", times="3", share="1", loud="false", who='{"name": "Ann"}')
    assert whole["kwargs"] == {"to": "", "times": 3, "share": 1, "loud": False, "who": {"name": "Ann"}}
    assert call("(a: int, b: int = 2, /)", a="1") == {"args": [1], "kwargs": {}}
    assert call("()") == {"args": [], "kwargs": {}} == call("(a: int = 1)")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"loud": "true", "times": "1.5"}, "times: a whole number is expected"),
        ({"loud": "true", "times": "true"}, "times: a whole number is expected"),
        ({"loud": "true", "share": "NaN"}, "share: a number is expected"),
        ({"loud": "true", "share": "much"}, "share: a number is expected"),
        ({"loud": "yes"}, "loud: true or false is expected"),
        ({}, "loud: true or false is expected"),
        ({"loud": "true", "who": "Ann"}, "who: JSON is expected"),
        ({"loud": "true", "who": "[" * 100_000}, "who: JSON is expected"),
    ],
)
def test_a_value_of_another_kind_is_refused(given: dict[str, str], expected: str) -> None:
    with pytest.raises(ManagerError, match=expected):
        call(SIGNATURE, to="x", **given)


def test_a_gap_before_a_parameter_without_a_name_is_refused() -> None:
    with pytest.raises(ManagerError, match="b: give those before it too"):
        call("(a: int = 1, b: int = 2, /)", b="1")


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "(a=<object object at 0x7f>)",
        "(*args: int)",
        "(**more: int)",
        "(a): ...\nimport os\ndef g(",
        f"(a={'x' * 2000})",
    ],
)
def test_other_parameters_have_no_form(parameters: str) -> None:
    assert fields_of(parameters) == []
