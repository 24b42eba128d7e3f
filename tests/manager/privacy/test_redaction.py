"""Texts without the values of private keys, whatever form they have."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gearman_manager.privacy import MARK, FunctionPrivacy, Privacy
from gearman_manager.privacy.printed_form import as_printed, from_printed

RULES = FunctionPrivacy(("password", "/^auth/"))
HIDDEN = FunctionPrivacy(shows_workloads=False)
M = MARK


@pytest.mark.parametrize(
    ("workload", "shown"),
    [
        ('{"password": "x", "to": "bob"}', f'{{"password": "{M}", "to": "bob"}}'),
        ('{"PassWord":"a\\"b","x":1}', f'{{"PassWord":"{M}","x":1}}'),
        ('{"a": [{"password": 123}], "b": 2}', f'{{"a": [{{"password": "{M}"}}], "b": 2}}'),
        ('{"password": {"a": ["]", {"b": "}"}]}, "c": null}', f'{{"password": "{M}", "c": null}}'),
        ('{"password": null, "authors": true}', f'{{"password": "{M}", "authors": "{M}"}}'),
        ('{\n "password"\n :\n "x",\n "c": 1}', f'{{\n "password"\n :\n "{M}",\n "c": 1}}'),
        ('{"pass\\u0077ord": "x"}', f'{{"pass\\u0077ord": "{M}"}}'),
        ('{"passwords": "x", "no_password": "y"}', '{"passwords": "x", "no_password": "y"}'),
        ('{"text": "password: x"}', f'{{"text": "password: {M}'),
        ('{"body": "{\\"password\\": \\"a\\\\\\"b\\", \\"c\\": 1}", "d": 2}', None),
        ('{"password": "cut in the mi', f'{{"password": "{M}'),
        ('{"password": {"cut": [1, 2', f'{{"password": "{M}"'),
        ('{"password": 12', f'{{"password": "{M}"'),
        ('["pass", "x"]', '["pass", "x"]'),
        ('{"password"' + " " * 200 + ': "x"}', '{"password"' + " " * 200 + f': "{M}"}}'),
        ("a=1&password=x%20y&b=2", f"a=1&password={M}&b=2"),
        ("pass%77ord=x&user[auth_token]=y&z=1", f"pass%77ord={M}&user[auth_token]={M}&z=1"),
        ("Password: a b c\nTo: bob\n", f"Password: {M}\nTo: bob\n"),
        ("Authorization: Bearer x\n  folded y\nTo: bob", f"Authorization: {M}\nTo: bob"),
        ("db.password=x\nuser=bob", f"db.password={M}\nuser=bob"),
        ("", ""),
        ("42", "42"),
    ],
)
def test_a_workload_is_shown_without_the_values_of_private_keys(workload: str, shown: str | None) -> None:
    printed = RULES.workload(as_printed(workload))
    assert printed is not None
    if shown is None:
        outer = json.loads(from_printed(printed))
        assert (json.loads(outer["body"]), outer["d"]) == ({"password": M, "c": 1}, 2)
    else:
        assert from_printed(printed) == shown
    assert RULES.workload(printed) == printed, "what is shown may be cleaned again"


@pytest.mark.parametrize(
    "workload",
    [
        *("hunter2", "a plain sentence", "<user><password>x</password></user>", 'a:1:{s:8:"password";s:1:"x";}'),
        *("\x80\x04\x95password", "\0\1\2", "name,password\nbob,x", "a=1\nno pair", "b3Blbg==\n"),
        *('["password", "x"]', '[["password", "x"]]', '"user","password"\n"alice","x"', "{s3cret}", '{"a": 1} x'),
        *('["user","password"]\n["alice","x"]', "[login] password x", '{"a": ["b", ["password", "x"', "[1, two]"),
    ],
)
def test_a_workload_in_which_no_keys_can_be_told_apart_is_not_shown(workload: str) -> None:
    assert RULES.workload(as_printed(workload)) is None
    assert FunctionPrivacy().workload(as_printed(workload)) == as_printed(workload)


def test_a_cut_character_makes_no_workload_binary() -> None:
    cut = '{"name": "J\u00fc'.encode()[:-1].decode(errors="surrogateescape")
    assert RULES.workload(as_printed(cut)) == '{"name": "J\\xc3'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("KeyError: {'password': 'x', 'to': 5}", f"KeyError: {{'password': '{M}', 'to': 5}}"),
        ("login(password=b'x', user='bob')", f"login(password=b'{M}', user='bob')"),
        ("refused: password=a b; user=bob", f"refused: password={M}; user=bob"),
        ("password=x\nnext line", f"password={M}\nnext line"),
        ("the password is wrong", "the password is wrong"),
        ("https://host/?password=x&to=bob failed", f"https://host/?password={M}&to=bob failed"),
        ("[password] => x\n[to] => bob", f"[password] => {M}\n[to] => bob"),
        ("SET password = 'it''s' WHERE id=1", f"SET password = '{M}' WHERE id=1"),
        ('data={"authorization": "a, b", "to": "bob"}', f'data={{"authorization": "{M}", "to": "bob"}}'),
        ("--password=x --to=bob", f"--password={M} --to=bob"),
    ],
)
def test_an_error_is_shown_without_the_values_of_private_keys(text: str, shown: str) -> None:
    assert RULES.text(text) == shown
    assert RULES.text(shown) == shown


def test_an_error_is_shown_without_the_private_values_of_its_job() -> None:
    workload = as_printed('{"password": "it\\u0027s me", "auth": {"token": "t0ken", "pin": 12345}, "to": "bob@x.com"}')
    text = "bob@x.com: can't log in with it's me, t0ken or 12345; 1234 and pin do no harm"
    assert RULES.text(text, workload) == f"bob@x.com: can't log in with {M}, {M} or {M}; 1234 and pin do no harm"
    assert HIDDEN.text("no such user: bob@x.com, to 0x10", workload) == f"no such user: {M}, to 0x10"
    assert HIDDEN.text(f"bad: {workload}", workload).count("bob@x.com") == 0


def test_arguments_of_a_task_are_private_by_the_names_of_its_parameters() -> None:
    rules = FunctionPrivacy(("password",), redacted_places=frozenset({1}))
    assert (
        rules.workload('{"args": ["bob", "x, y", 3], "kwargs": {}}') == f'{{"args": ["bob", "{M}", 3], "kwargs": {{}}}}'
    )
    assert rules.workload('{"args": ["bob", {"a": [1]}], "kwargs": {"password": 1}}') == (
        f'{{"args": ["bob", "{M}"], "kwargs": {{"password": "{M}"}}}}'
    )
    assert rules.workload('{"args": ["bob", "x') == f'{{"args": ["bob", "{M}"'
    assert rules.workload('{"kwargs": {}, "args": ["bob", "x"]}') == f'{{"kwargs": {{}}, "args": "{M}"}}'
    assert rules.text("no x, y today", '{"args": ["bob", "x, y"], "kwargs": {}}') == f"no {M} today"


def test_nothing_of_a_private_workload_is_shown() -> None:
    assert HIDDEN.workload('{"to": "bob"}') is None
    assert HIDDEN.workload("") is None
    assert HIDDEN.mapping({"a": "bob@x.com"}, '{"to": "bob@x.com"}') == {"a": M}


def test_without_rules_the_same_object_comes_back() -> None:
    text = '{"password": "x"}'
    assert FunctionPrivacy().workload(text) is text
    assert FunctionPrivacy().text(text) is text


_LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@given(
    st.dictionaries(st.text(max_size=6), _VALUES, max_size=4),
    st.text(min_size=1, max_size=6).map(lambda text: f"s3cret{text}s3cret"),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(1, 400),
)
def test_no_json_tells_a_private_value(
    around: dict[str, Any], secret: str, indent: Any, ascii_: bool, cut: int
) -> None:
    values = {**around, "password": [secret], "b": {"authx": secret, **around}, "c": json.dumps({"password": secret})}
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_)
    for part in (text, text[:cut]):
        shown = RULES.workload(as_printed(part))
        assert shown is None or "s3cre" not in shown
        assert "s3cre" not in RULES.text(f"failed: {part}")


@pytest.mark.parametrize(
    "text",
    [
        *(":" * 32768, '"' * 32768, '"password":' + "[" * 32000, "password=" + ", " * 16000, "a" * 32000 + ":"),
        *('"password":"' + '\\"' * 16000, '"password":"' * 2700, "password=" + " " * 32000, '"\\' * 16000),
    ],
    ids=lambda text: text[:14],
)
def test_hostile_texts_take_no_long_time(text: str) -> None:
    """The processor's time, of which the supervisor has one for all."""
    rules = FunctionPrivacy(("password", "/^a.*b$/"))
    began = time.thread_time()
    rules.text(text, as_printed(text))
    assert time.thread_time() - began < 0.5


def test_many_values_are_looked_for_one_by_one_and_of_too_many_nothing_is_told() -> None:
    def failed(values: int) -> str:
        secrets = ["a" * (4 + number) + "b" for number in range(values)]
        began = time.thread_time()
        shown = RULES.text("a" * 32000 + "b and " + secrets[-1], as_printed(json.dumps({"password": secrets})))
        assert time.thread_time() - began < 0.2
        return shown

    assert failed(100).endswith(f"a{M} and {M}")
    assert failed(250) == M


def test_keys_for_which_there_was_no_time_are_private() -> None:
    rules = FunctionPrivacy(tuple(f"/tok|{number}x.*key/" for number in range(100)))
    began = time.thread_time()
    shown = rules.workload(as_printed(json.dumps({f"key-{number}-{'a' * 40}": "v" for number in range(1900)})[:32000]))
    assert time.thread_time() - began < 0.2
    assert shown is None or M in shown


def test_a_long_text_is_cut_and_says_so() -> None:
    shown = RULES.text("x" * 40_000 + "password=y")
    assert shown.endswith(" … 7,242 more characters are not shown")


def test_rules_hold_by_function_and_for_all_others() -> None:
    privacy = Privacy()
    assert not privacy.of("mail").hides
    privacy.use({"mail": FunctionPrivacy(("secret",))}, FunctionPrivacy(("token",)))
    assert privacy.of("mail").redact == ("secret",)
    assert privacy.of("other").redact == ("token",)
    assert privacy.retention_s == {}
    privacy.use(
        {"mail": FunctionPrivacy(("secret",), retention_s=5), "b": FunctionPrivacy()}, FunctionPrivacy(("token",))
    )
    assert privacy.retention_s == {"mail": 5}
    assert privacy.of_all.text("secret=a token=b password=c") == f"secret={M} token={M} password=c"


@pytest.mark.parametrize("rules", [RULES, HIDDEN])
@pytest.mark.parametrize(
    "secret", ["Müller-Lüdenscheidt", "p'w\"x\\y1", "two\nlines", "it's me", "\udcfe\udcff\udcfe1"]
)
def test_values_are_known_in_the_forms_in_which_programs_print_them(rules: FunctionPrivacy, secret: str) -> None:
    raw = secret.encode(errors="surrogateescape")
    workload = as_printed(json.dumps({"password": secret}, ensure_ascii=False))
    for printed in (secret, repr(secret)[1:-1], repr(raw)[2:-1], json.dumps(secret)[1:-1], repr([secret])[2:-2]):
        assert rules.text(f"it is <{printed}>", workload) == f"it is <{M}>"


def test_the_bound_of_values_counts_those_that_are_looked_for() -> None:
    words = " ".join(f"word{number:04}" for number in range(252))
    assert HIDDEN.text("ParseError: near 'word0249'", words) == M
    short = " ".join(f"{number}" for number in range(500))
    assert HIDDEN.text("ParseError: near 'diagnosis'", f"{short} diagnosis") == f"ParseError: near '{M}'"


def test_many_values_with_many_forms_take_no_long_time() -> None:
    secrets = ["ä" * (4 + number) + "b" for number in range(150)]
    began = time.thread_time()
    RULES.text("ä" * 32000, as_printed(json.dumps({"password": secrets}, ensure_ascii=False)))
    assert time.thread_time() - began < 0.3
