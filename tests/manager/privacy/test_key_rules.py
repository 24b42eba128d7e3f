"""Rules for keys: names, and expressions that can't take long."""

from __future__ import annotations

import re
import time

import pytest

from gearman_manager.privacy.key_rules import KeyRules, checked_rule
from gearman_manager.privacy.parameters import redacted_places


@pytest.mark.parametrize(
    ("rule", "meant", "not_meant"),
    [
        ("password", ["password", "PASSWORD"], ["passwords", "my_password"]),
        ("/^auth/", ["auth", "Authorization"], ["oauth"]),
        ("/token$/", ["token", "apiToken"], ["tokens"]),
        ("/^(?:pass|secret)_?(word|key)$/", ["password", "secret_key"], ["pass"]),
        ("/card[ _-]*no/", ["card - no", "my_cardno"], ["card"]),
        ("/[()*+{}]\\)/", ["*)"], [")"]),
        ("/", ["/"], ["a"]),
        ("//", ["//"], ["a"]),
    ],
)
def test_a_rule_means_these_keys(rule: str, meant: list[str], not_meant: list[str]) -> None:
    rules = KeyRules([checked_rule(rule)])
    assert [key for key in meant + not_meant if rules.hide(key)] == meant
    assert [key for key in meant + not_meant if rules.hide(key)] == meant, "from memory"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("", "a key or an expression"),
        (["a"], "a key or an expression"),
        (True, "a key or an expression"),
        ("a\nb", "a key or an expression"),
        ("x" * 201, "at most 200 characters"),
        ("/[/", "is no regular expression"),
        ("/(a+)+$/", "+ is not possible"),
        ("/(a|b){9}/", "{9} is not possible"),
        ("/(a)\\1/", "\\1 is not possible"),
        ("/(?P<n>a)/", "is not possible"),
        ("/(?=a)/", "is not possible"),
        ("/a*b*/", "at most one"),
        ("/a{2,}b+/", "at most one"),
        ("/" + "a?" * 9 + "/", "few ? and |"),
        ("/a?a?a?a*b/", "few ? and |"),
        ("/" + "(a|b)" * 300 + "/", "at most 200"),
    ],
)
def test_a_rule_that_is_none_or_could_take_long_is_refused(rule: object, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        checked_rule(rule)


def test_the_slowest_rules_are_fast_for_hostile_keys() -> None:
    rules = KeyRules([checked_rule(rule) for rule in ("/a.*b/", "/a?a?a*b/", "/a(a|a|a)a*b/", "/" + "a?" * 8 + "b/")])
    began = time.thread_time()
    for number in range(100):
        assert not rules.hide("a" * 60 + str(number))
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("parameters", "places"),
    [
        ("(user: str, password: str) -> bool", [1]),
        ("(auth: str, /, user: str = 'password', *, password: str = 'x')", [0]),
        ("()", []),
        ("", []),
    ],
)
def test_rules_mean_places_of_a_tasks_parameters(parameters: str, places: list[int]) -> None:
    assert sorted(redacted_places(parameters, ("password", "/^auth/"))) == places


def test_unknown_parameters_are_all_meant() -> None:
    assert {0, 1, 50} <= redacted_places("(a=<object object at 0x7f>)", ("password",))
    found = redacted_places("(user: str, *passwords: str)", ("passwords",))
    assert {1, 2, 50} <= found
    assert 0 not in found
    assert redacted_places("(a=<object>)", ()) == frozenset()
