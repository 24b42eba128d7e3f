"""The layout: pools and functions that follow from a configuration and the functions found in the modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from gearman_manager.config import Config, FoundFunction, Layout, lay_out

Read = Callable[..., Config]

CORES = 2


def found(*names: str, **options: object) -> list[FoundFunction]:
    return [FoundFunction(name, f"workers/{name}.py", 3, options) for name in names]


@pytest.fixture
def laid_out(read: Read) -> Callable[..., Layout]:
    """Lays a configuration out; the line `server:` is put in front of it."""

    def laid_out(text: str, functions: Sequence[FoundFunction], unloaded: Sequence[str] = ()) -> Layout:
        return lay_out(read(f"server:\n{text}"), functions, CORES, unloaded)

    return laid_out


LaidOut = Callable[..., Layout]


def served(layout: Layout) -> dict[str, tuple[str, ...]]:
    return {name: pool.functions for name, pool in layout.pools.items()}


def problems(layout: Layout) -> list[str]:
    return [str(problem) for problem in layout.problems]


@pytest.mark.parametrize(
    ("pools", "functions", "expected"),
    [
        ("{}", "a b", {"a": ("a",), "b": ("b",)}),
        ("{p: {functions: [b, a]}}", "a b", {"p": ("a", "b")}),
        ("{p: {functions: [a]}}", "a b", {"p": ("a",), "b": ("b",)}),
        ("{p: {functions: [a]}, rest: {functions: '*'}}", "a b c", {"p": ("a",), "rest": ("b", "c")}),
        ("{rest: {functions: ['*', a]}}", "a b", {"rest": ("a", "b")}),
        ("{rest: {functions: '*'}}", "", {}),
        ("{a: {max: 9}}", "a b", {"a": ("a",), "b": ("b",)}),
        ("{p: {functions: [a, a]}}", "a", {"p": ("a",)}),
        ("{p: {command: php}}", "a", {"p": (), "a": ("a",)}),
        ("{p: {command: php, functions: [z, y]}}", "", {"p": ("y", "z")}),
    ],
)
def test_every_function_runs_in_one_pool(laid_out: LaidOut, pools: str, functions: str, expected: object) -> None:
    layout = laid_out(f"pools: {pools}", found(*functions.split()))
    assert served(layout) == expected
    assert {name: (function.pool,) for name, function in layout.functions.items()} == {
        name: (pool,) for pool, names in served(layout).items() for name in names
    }
    assert problems(layout) == []
    assert layout.can_start


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", (1, 4)),
        ("{min: 6}", (6, 6)),
        ("{max: 3}", (1, 3)),
        ("{max: 2/core}", (1, 4)),
        ("{min: 1/core, max: 10}", (2, 10)),
        ("{min: 0}", (0, 4)),
        ("{command: php}", (1, 1)),
        ("{command: php, min: 2}", (2, 2)),
        ("{command: php, min: 2, functions: [x]}", (2, 4)),
    ],
)
def test_a_pool_without_min_or_max_gets_the_built_in_values(
    laid_out: LaidOut, text: str, expected: tuple[int, int]
) -> None:
    pool = laid_out(f"pools: {{a: {text}}}", found("a")).pools["a"]
    assert (pool.min, pool.max) == expected


def test_a_program_whose_functions_are_not_named_ignores_an_inherited_max(laid_out: LaidOut) -> None:
    pool = laid_out("defaults: {max: 8}\npools: {p: {command: php}}", []).pools["p"]
    assert (pool.min, pool.max) == (1, 1)


def test_the_value_of_a_pool_key_is_the_pools_then_the_defaults_then_the_built_in_one(laid_out: LaidOut) -> None:
    text = "defaults: {nice: 5, stop_timeout: 1m, max_jobs: 100, max_lifetime: 1h}\npools: {a: {nice: 7, max_jobs: 0}}"
    pool = laid_out(text, found("a")).pools["a"]
    assert (pool.nice, pool.stop_timeout_s, pool.concurrency) == (7, 60.0, 1)
    assert (pool.max_jobs, pool.max_lifetime_s, pool.max_memory_bytes) == (None, 3600.0, None)


def test_the_pool_of_an_unmentioned_function_takes_the_defaults(laid_out: LaidOut) -> None:
    assert laid_out("defaults: {max: 9, preload: false}", found("a")).pools["a"].max == 9


@pytest.mark.parametrize(
    ("defaults", "pool", "policy", "cooldown_s"),
    [
        ("{}", "{}", (2.0, None, None), 30.0),
        ("{backlog_per_worker: 5, cooldown: 10s}", "{}", (None, 5, None), 10.0),
        ("{backlog_per_worker: 5, cooldown: 10s}", "{utilisation: 0.5}", (None, None, 0.5), 10.0),
        ("{backlog_per_worker: 5, cooldown: 10s}", "{cooldown: 0}", (None, 5, None), 0.0),
    ],
)
def test_a_pool_scales_by_the_one_policy_of_the_nearest_section(
    laid_out: LaidOut, defaults: str, pool: str, policy: tuple[object, ...], cooldown_s: float
) -> None:
    layout = laid_out(f"defaults: {{scale: {defaults}}}\npools: {{a: {{scale: {pool}}}}}", found("a"))
    scale = layout.pools["a"].scale
    assert (scale.target_wait_s, scale.backlog_per_worker, scale.utilisation) == policy
    assert scale.cooldown_s == cooldown_s


@pytest.mark.parametrize(
    ("pool", "idle_s"), [("{min: 0}", 60.0), ("{min: 0, scale: {idle: 5m}}", 300.0), ("{min: 1}", None)]
)
def test_only_a_pool_that_can_go_to_zero_has_an_idle_time(laid_out: LaidOut, pool: str, idle_s: object) -> None:
    assert laid_out(f"pools: {{a: {pool}}}", found("a")).pools["a"].scale.idle_s == idle_s


WINDOW = "cron: 0 8 * * mon-fri, for: 2h"


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        (f"pools: {{a: {{windows: {{{WINDOW}, min: 2}}}}}}", (1, 4, [(2, None)])),
        # A max that nobody has written leaves room for the windows.
        (f"pools: {{a: {{windows: {{{WINDOW}, min: 20}}}}}}", (1, 20, [(20, None)])),
        (f"pools: {{a: {{windows: {{{WINDOW}, min: 10, max: 5/core}}, max: 3}}}}", (1, 3, [(10, 10)])),
        (f"defaults: {{windows: {{{WINDOW}, min: 2}}}}", (1, 4, [(2, None)])),
        (f"defaults: {{windows: {{{WINDOW}, min: 2}}}}\npools: {{a: {{windows: []}}}}", (1, 4, [])),
        (f"defaults: {{windows: {{{WINDOW}, min: 2}}}}\npools: {{a: {{windows: {{{WINDOW}, max: 3}}}}}}",
         (1, 4, [(None, 3)])),
    ],
)  # fmt: skip
def test_windows_come_from_the_pool_or_the_defaults(
    laid_out: LaidOut, text: str, bounds: tuple[int, int, list[tuple[int | None, int | None]]]
) -> None:
    layout = laid_out(text, found("a"))
    assert problems(layout) == []
    pool = layout.pools["a"]
    assert (pool.min, pool.max, [(window.min, window.max) for window in pool.windows]) == bounds
    assert all(window.length_s == 7200.0 and window.time_zone == "UTC" for window in pool.windows)


def test_a_window_can_let_a_pool_go_to_zero(laid_out: LaidOut) -> None:
    night = "{cron: 0 22 * * *, for: 8h, min: 0}"
    pool = laid_out(f"pools: {{a: {{scale: {{idle: 5m}}, windows: {night}}}}}", found("a")).pools["a"]
    assert (pool.min, pool.scale.idle_s) == (1, 300.0)


def test_a_program_of_fixed_size_has_another_by_the_time_of_day(laid_out: LaidOut) -> None:
    day = "{cron: 0 8 * * *, for: 8h, min: 6}"
    pool = laid_out(f"pools: {{p: {{command: php, min: 0, windows: {day}}}}}", found("a")).pools["p"]
    assert (pool.min, pool.max) == (0, 6)


def test_programs_have_environment_folder_and_user_and_python_pools_do_not(laid_out: LaidOut) -> None:
    text = "defaults: {env: {A: '1', B: '2'}, user: www}\npools: {p: {command: php x.php, env: {B: '3'}}}"
    layout = laid_out(text, found("a"))
    program, python = layout.pools["p"], layout.pools["a"]
    assert (program.command, program.env, program.user) == (("php", "x.php"), {"A": "1", "B": "3"}, "www")
    assert (python.command, python.env, python.user) == (None, {}, None)


@pytest.mark.parametrize(
    ("defaults", "decorator", "explicit", "timeout_s"),
    [
        ("", {}, "", None),
        ("timeout: 1s", {}, "", 1.0),
        ("timeout: 1s", {"timeout": "2s"}, "", 2.0),
        ("timeout: 1s", {"timeout": "2s"}, "timeout: 3s", 3.0),
        ("timeout: 1s", {"timeout": "2s"}, "timeout: 0", None),
        ("timeout: 1s", {"timeout": None}, "", 1.0),
    ],
)
def test_the_file_wins_over_the_decorator_and_the_decorator_over_defaults(
    laid_out: LaidOut, defaults: str, decorator: dict[str, object], explicit: str, timeout_s: object
) -> None:
    text = f"defaults: {{{defaults}}}\nfunctions: {{a: {{{explicit}}}}}"
    assert laid_out(text, found("a", **decorator)).functions["a"].timeout_s == timeout_s


def test_a_function_has_a_value_for_every_key_and_knows_its_file(laid_out: LaidOut) -> None:
    function = laid_out("", found("a")).functions["a"]
    assert (function.file, function.line, function.pool, function.module_name) == ("workers/a.py", 3, "a", "a")
    assert (function.retries, function.crash_retries, function.backoff_s, function.max_backoff_s) == (0, 3, 10.0, 600.0)
    assert (function.keep_result_s, function.max_queue, function.max_running, function.rate) == (None, None, None, None)


def test_a_backoff_above_the_built_in_maximum_raises_that_maximum(laid_out: LaidOut) -> None:
    assert laid_out("functions: {a: {backoff: 1h}}", found("a")).functions["a"].max_backoff_s == 3600.0


def test_settings_are_merged_key_by_key(laid_out: LaidOut) -> None:
    text = "defaults: {settings: {a: 1, b: 1}}\nfunctions: {f: {settings: {b: 3}}}"
    layout = laid_out(text, found("f", settings={"b": 2, "c": 2}))
    assert layout.functions["f"].settings == {"a": 1, "b": 3, "c": 2}


def test_a_function_of_a_program_has_policies_but_no_file(laid_out: LaidOut) -> None:
    layout = laid_out("pools: {p: {command: php, functions: [x]}}\nfunctions: {x: {timeout: 5s}}", [])
    function = layout.functions["x"]
    assert (function.pool, function.file, function.timeout_s) == ("p", "", 5.0)


def test_registered_names_get_the_prefix_once_whether_it_is_written_or_not(laid_out: LaidOut) -> None:
    text = "prefix: acme.\npools: {p: {functions: [a, acme.b]}}\nfunctions: {a: {timeout: 1s}, acme.b: {timeout: 2s}}"
    layout = laid_out(text, found("a", "b", "c"))
    assert served(layout) == {"p": ("acme.a", "acme.b"), "acme.c": ("acme.c",)}
    assert [(name, f.module_name, f.timeout_s) for name, f in layout.functions.items()] == [
        ("acme.a", "a", 1.0),
        ("acme.b", "b", 2.0),
        ("acme.c", "c", None),
    ]
    assert problems(layout) == []


def test_a_program_registers_its_own_names_so_they_get_no_prefix(laid_out: LaidOut) -> None:
    assert served(laid_out("prefix: acme.\npools: {p: {command: php, functions: [x]}}", [])) == {"p": ("x",)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("include_functions: [send_*]", ["send_a", "send_b"]),
        ("exclude_functions: send_*", ["other"]),
        ("include_functions: [send_*]\nexclude_functions: ['*_b']", ["send_a"]),
        ("prefix: x.\nexclude_functions: x.send_*", ["x.other"]),
    ],
)
def test_functions_are_included_and_excluded_by_globs(laid_out: LaidOut, text: str, expected: list[str]) -> None:
    assert sorted(laid_out(text, found("send_a", "send_b", "other")).functions) == expected


def test_an_unknown_function_in_a_pool_prevents_the_start_but_not_the_layout_of_the_others(laid_out: LaidOut) -> None:
    layout = laid_out("pools:\n  p:\n    functions: [a,\n      send_mail]\n", found("a", "send_email"))
    assert problems(layout) == [
        "config.yaml:5: pools.p.functions: no module defines the function send_mail; "
        "did you mean send_email? known are a, send_email"
    ]
    assert served(layout) == {"p": ("a",), "send_email": ("send_email",)}
    assert not layout.can_start


def test_a_pool_without_functions_needs_a_function_of_its_name(laid_out: LaidOut) -> None:
    layout = laid_out("pools:\n  email: {max: 3}\n", found("a"))
    assert problems(layout) == ["config.yaml:3: pools.email: no module defines the function email; known are a"]
    assert served(layout) == {"a": ("a",)}


def test_a_module_that_could_not_be_loaded_does_not_prevent_the_start(laid_out: LaidOut) -> None:
    text = "pools: {p: {functions: [send_email]}}\nfunctions: {send_email: {timeout: 3s}}"
    layout = laid_out(text, found("a"), ["workers/email.py"])
    end = "no module defines the function send_email; known are a (could not be loaded: workers/email.py)"
    assert problems(layout) == [
        f"config.yaml:2: pools.p.functions: {end}",
        f"config.yaml:3: functions.send_email: {end}",
    ]
    assert layout.can_start
    assert served(layout) == {"a": ("a",)}


def test_keys_for_an_unknown_function_are_reported(laid_out: LaidOut) -> None:
    layout = laid_out("functions:\n  revers: {timeout: 3s}\n", found("reverse"))
    assert problems(layout) == [
        "config.yaml:3: functions.revers: no module defines the function revers; "
        "did you mean reverse? known are reverse"
    ]


def test_an_empty_folder_of_modules_is_reported(laid_out: LaidOut) -> None:
    layout = laid_out("pools: {p: {functions: [a]}}", [])
    assert problems(layout) == [
        "config.yaml:2: pools.p.functions: no module defines the function a; no function is known"
    ]


def test_a_long_list_of_known_functions_is_cut(laid_out: LaidOut) -> None:
    layout = laid_out("pools: {p: {functions: [zzz]}}", found(*(f"f{number:02}" for number in range(20))))
    assert problems(layout)[0].endswith("f10, f11 and 8 more")


def test_a_pool_that_names_an_excluded_function_is_reported(laid_out: LaidOut) -> None:
    layout = laid_out("exclude_functions: a\npools: {p: {functions: [a]}}", found("a", "b"))
    assert problems(layout) == [
        "config.yaml:3: pools.p.functions: the function a is left out by exclude_functions (config.yaml:2): "
        "change one of them"
    ]
    assert served(layout) == {"b": ("b",)}


def test_a_glob_that_includes_no_function_is_reported(laid_out: LaidOut) -> None:
    layout = laid_out("include_functions: [a, 'x*']", found("a", "b"))
    assert problems(layout) == ["config.yaml:2: include_functions: no function fits 'x*'; known are a, b"]


def test_two_files_that_define_one_function_run_neither_and_the_others_run(laid_out: LaidOut) -> None:
    twice = [FoundFunction("a", "workers/a.py", 3), FoundFunction("a", "more/b.py", 7)]
    layout = laid_out("pools: {p: {functions: [a, c]}}\nfunctions: {a: {timeout: 1s}}", [*twice, *found("c")])
    assert problems(layout) == [
        "more/b.py:7: a: the function is defined twice, at workers/a.py:3 too, and runs in neither version: "
        "rename one of them, or leave one out of workers_dir"
    ]
    assert served(layout) == {"p": ("c",)}
    assert layout.can_start


def test_a_function_of_a_module_and_of_a_program_runs_in_the_program(laid_out: LaidOut) -> None:
    layout = laid_out("pools: {p: {command: php, functions: [a]}}", found("a", "b"))
    assert problems(layout) == [
        "workers/a.py:3: a: the command of the pool p (config.yaml:2) serves the function too and keeps it: "
        "take it out of one of them, or name it in exclude_functions"
    ]
    assert served(layout) == {"p": ("a",), "b": ("b",)}
    assert layout.functions["a"].file == ""
    assert layout.can_start


def test_a_function_whose_own_pool_would_have_a_taken_name_is_reported(laid_out: LaidOut) -> None:
    layout = laid_out("pools:\n  email: {functions: [send]}\n", found("send", "email"))
    assert problems(layout) == [
        "workers/email.py:3: email: no pool names the function, and the pool email serves others: "
        "add it to pools.email.functions (config.yaml:3) or to another pool"
    ]
    assert served(layout) == {"email": ("send",)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"timeout": 30},
            "a.timeout: a duration needs a unit: write 30s (allowed: 500ms, 30s, 5m, 1h or 7d), not 30",
        ),
        ({"retries": "x"}, "a.retries: a whole number from 0 up is expected, not 'x'"),
        (
            {"max": 3},
            "a.max: the key belongs to processes, not to jobs: write it under pools, or in defaults",
        ),
    ],
)
def test_a_decorator_with_bad_options_costs_only_its_function(
    laid_out: LaidOut, options: dict[str, object], expected: str
) -> None:
    layout = laid_out("pools: {p: {functions: [a, b]}}", [*found("a", **options), *found("b")])
    assert problems(layout) == [f"workers/a.py:3: {expected}"]
    assert served(layout) == {"p": ("b",)}
    assert layout.can_start


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "pools:\n  a: {min: 3/core, max: 5}\n",
            "config.yaml:3: pools.a.min: 6 is more than max, which is 5 with 2 cores at config.yaml:3: "
            "lower min or raise max",
        ),
        (
            "defaults: {min: 3, max: 1/core}\n",
            "config.yaml:2: defaults.min: 3 is more than max, which is 2 with 2 cores at config.yaml:2: "
            "lower min or raise max",
        ),
        (
            "limits: {max_workers: 1}\npools:\n  a: {min: 2}\n",
            "config.yaml:2: limits.max_workers: 1 is less than the min of all pools together, 2: raise it",
        ),
        (
            "limits: {budgets: {smtp: 5, db: 9}}\npools:\n  a: {min: 1/core, uses: {smtp: 3, db: 1}}\n",
            "config.yaml:2: limits.budgets.smtp: 5 is less than the min workers of all pools use, 6 (a: 2 of 3 each): "
            "raise it or lower a min",
        ),
        (
            "limits: {max_workers: 9}\npools:\n  a: {max: 20, windows: {cron: 0 8 * * *, for: 1h, min: 5/core}}\n",
            "config.yaml:2: limits.max_workers: 9 is less than the min of a window of the pool a, 10: raise it",
        ),
        (
            "limits: {budgets: {db: 9}}\n"
            "pools: {a: {max: 20, uses: {db: 2}, windows: {cron: 0 8 * * *, for: 1h, min: 5}}}\n",
            "config.yaml:2: limits.budgets.db: 9 is less than the min of a window of the pool a uses, 10: raise it",
        ),
        (
            "pools:\n  a:\n    max: 9\n    windows:\n      - {cron: 0 8 * * *, for: 1h, min: 9}\n"
            "      - {cron: 0 9 * * *, for: 1h, min: 10}\n",
            "config.yaml:7: pools.a.windows: min 10 is more than the pool's max, 9: lower it, or give the window a max "
            "too",
        ),
        (
            "defaults:\n  min: 3\n  windows: {cron: 0 8 * * *, for: 1h, max: 1/core}\n",
            "config.yaml:4: defaults.windows: max 2 is less than the pool's min, 3: raise it, or give the window a min "
            "too",
        ),
        (
            "pools: {a: {windows: [{cron: 0 8 * * *, for: 1h, min: 5, max: 2/core}]}}\n",
            "config.yaml:2: pools.a.windows: min 5 is more than max 4: lower min or raise max",
        ),
        (
            "pools:\n  a: {min: 2, max: 9, max_everywhere: 1}\n",
            "config.yaml:3: pools.a.max_everywhere: 1 is less than the min of pool a, 2: raise it",
        ),
        (
            "defaults: {max_everywhere: 1}\npools:\n  a: {min: 2}\n",
            "config.yaml:2: defaults.max_everywhere: 1 is less than the min of pool a, 2: raise it",
        ),
        (
            "pools:\n  a: {max: 9, max_everywhere: 4, windows: {cron: 0 8 * * *, for: 1h, min: 5}}\n",
            "config.yaml:3: pools.a.max_everywhere: 4 is less than the min of a window of the pool a, 5: raise it",
        ),
    ],
)
def test_worker_counts_that_are_impossible_on_this_machine_are_reported(
    laid_out: LaidOut, text: str, expected: str
) -> None:
    layout = laid_out(text, found("a"))
    assert problems(layout) == [expected]
    assert not layout.can_start


LISTS = "@function(batch=100) in Python gets a list of them"


@pytest.mark.parametrize(
    ("decorator", "written", "batch", "linger_s"),
    [
        ({}, "", None, 0.0),
        ({"batch": 100}, "", 100, 0.0),
        ({"batch": 100, "linger": "50ms"}, "", 100, 0.05),
        ({"batch": 100, "linger": "50ms"}, "batch: 20", 20, 0.05),
        ({"batch": 100}, "linger: 1s", 100, 1.0),
        ({"batch": 100, "linger": "50ms"}, "linger: 0", 100, 0.0),
        ({"batch": 1}, "", 1, 0.0),
    ],
)
def test_the_configuration_tunes_the_lists_of_a_function_that_takes_them(
    laid_out: LaidOut, decorator: dict[str, object], written: str, batch: int | None, linger_s: float
) -> None:
    layout = laid_out(f"functions: {{a: {{{written}}}}}\n", found("a", **decorator))
    assert not layout.problems
    assert (layout.functions["a"].batch, layout.functions["a"].linger_s) == (batch, linger_s)


@pytest.mark.parametrize(
    ("config", "decorator", "expected", "can_start"),
    [
        ("functions: {a: {batch: 5}}", {}, "config.yaml:2: functions.a.batch: the function a takes one job at", False),
        ("functions: {a: {linger: 0}}", {}, "config.yaml:2: functions.a.linger: the function a takes one job", False),
        ("", {"linger": "1s"}, "workers/a.py:3: a.linger: linger is for functions that take a list of jobs", True),
        ("", {"batch": 0}, "workers/a.py:3: a.batch: a whole number from 1 to 1000 is expected, not 0", True),
        (
            "pools: {p: {functions: [a], concurrency: 2}}",
            {"batch": 5},
            "config.yaml:2: pools.p.concurrency: a of the pool p takes a list of jobs, one list after the other: give",
            False,
        ),
        ("defaults: {concurrency: 2}", {"batch": 5}, "config.yaml:2: defaults.concurrency: a of the pool a", False),
    ],
)
def test_keys_of_lists_that_can_not_work_are_refused(
    laid_out: LaidOut, config: str, decorator: dict[str, object], expected: str, can_start: bool
) -> None:
    layout = laid_out(config, found("a", **decorator))
    (problem,) = problems(layout)
    assert problem.startswith(expected)
    assert layout.can_start is can_start


@pytest.mark.parametrize("key", ["prefetch", "concurrency"])
def test_some_keys_are_for_python_and_other_pools_ignore_an_inherited_one(laid_out: LaidOut, key: str) -> None:
    php = [FoundFunction("report", "workers/report.php", 1, {})]
    layout = laid_out(f"pools:\n  p: {{functions: [report], {key}: 2}}\n", php)
    assert problems(layout) == [
        f"config.yaml:3: pools.p.{key}: the key is for Python functions, and this pool's are in PHP: "
        "leave it out, and raise max instead"
    ]
    inherited = laid_out(f"defaults: {{{key}: 5}}\npools: {{c: {{command: x, functions: [y]}}, a: {{}}}}\n", found("a"))
    assert (getattr(inherited.pools["a"], key), getattr(inherited.pools["c"], key)) == (5, 1)


def test_only_the_workers_of_python_functions_redact_errors(laid_out: LaidOut) -> None:
    functions = [*found("a", "b"), FoundFunction("report", "workers/report.php", 1, {})]
    layout = laid_out("pools: {p: {command: php x.php, functions: [b, c]}}", functions)
    cleaned = {name: function.privacy.cleans_errors for name, function in layout.functions.items()}
    assert cleaned == {"a": True, "b": False, "c": False, "report": False}


def of_kinds(**is_async: bool) -> list[FoundFunction]:
    return [FoundFunction(name, f"workers/{name}.py", 3, {}, kind) for name, kind in is_async.items()]


def test_a_pool_of_async_functions_has_a_loop(laid_out: LaidOut) -> None:
    layout = laid_out("pools: {a: {concurrency: 5}}", of_kinds(a=True, b=False))
    assert problems(layout) == []
    assert [(pool.is_async, pool.concurrency) for pool in layout.pools.values()] == [(True, 5), (False, 1)]


@pytest.mark.parametrize(
    ("config", "kinds", "expected"),
    [
        (
            "pools: {p: {functions: [a, b]}}",
            {"a": True, "b": False},
            "config.yaml:2: pools.p.functions: a pool runs its functions either on an asyncio loop or without one, and "
            "here are a with async def, b with def: name either in a pool of their own",
        ),
        (
            "pools: {a: {prefetch: 5}}",
            {"a": True},
            "config.yaml:2: pools.a.prefetch: the pool a has functions with async def (a), and an asyncio loop asks",
        ),
        ("defaults: {prefetch: 5}", {"a": True}, "config.yaml:2: defaults.prefetch: the pool a has functions"),
    ],
)
def test_what_an_asyncio_loop_can_not_run_is_refused(
    laid_out: LaidOut, config: str, kinds: dict[str, bool], expected: str
) -> None:
    layout = laid_out(config, of_kinds(**kinds))
    (problem,) = problems(layout)
    assert problem.startswith(expected)
    assert "a" not in layout.functions
