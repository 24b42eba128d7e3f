"""Reading files: YAML, variables, includes, and the errors of the disk."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gearman_manager.config import Config, ConfigError, load
from gearman_manager.config.document import MAX_ENTRIES
from gearman_manager.config.file import MAX_FILE_BYTES

Read = Callable[..., Config]
Messages = Callable[..., list[str]]

SERVER = "server:\n"


def settings(config: Config) -> object:
    return config.functions["f"].settings


def with_settings(text: str) -> str:
    return f"{SERVER}functions:\n  f:\n    settings:\n      a: {text}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("x${A}-${A}y", "xone-oney"),
        ("${GONE:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ('"${EMPTY}"', ""),
        ("${GONE:-}", None),
        ('"${GONE:-}"', ""),
        ("${PORT}", 25),
        ('"${PORT}"', "25"),
        ("${GONE:-true}", True),
        ("$${A}", "${A}"),
        ("a$$b", "a$b"),
        ("pa$word$", "pa$word$"),
        ("$A", "$A"),
        ('["${A}"]', ["one"]),
        ("0644", "0644"),
        ("2026-11-21", "2026-11-21"),
        ("1:30", "1:30"),
        ("1.5", 1.5),
        ("-3", -3),
        ("off", False),
        ("~", None),
    ],
)
def test_a_value_is_plain_yaml_with_variables_replaced(read: Read, text: str, value: object) -> None:
    config = read(with_settings(text), {"A": "one", "EMPTY": "", "PORT": "25"})
    assert settings(config) == {"a": value}


def test_variables_are_replaced_in_numbers_addresses_and_keys(read: Read) -> None:
    text = "server: {listen: '127.0.0.1:${PORT:-4730}'}\npools: {'${NAME}': {functions: [f], max: '${MAX}'}}\n"
    config = read(text, {"PORT": "4731", "NAME": "email", "MAX": "8"})
    assert str(config.own_addresses[0]) == "127.0.0.1:4731"
    assert str(config.pools["email"].max) == "8"


def test_variables_in_comments_are_ignored(read: Read) -> None:
    assert read("# ${MISSING}\nserver: # ${MISSING}\n").server is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "${MISSING}",
            "config.yaml:5: functions.f.settings.a: the environment variable MISSING is not set: "
            "set it, or give a default with ${MISSING:-default}",
        ),
        (
            "${1}",
            "config.yaml:5: functions.f.settings.a: '${' starts a variable: "
            "write ${NAME} or ${NAME:-default}, or $${ for the text itself",
        ),
    ],
)
def test_a_missing_or_misspelt_variable_is_reported_with_its_line(messages: Messages, text: str, expected: str) -> None:
    assert messages(with_settings(text)) == [expected]


def test_a_missing_variable_is_the_only_message_about_its_value(messages: Messages) -> None:
    found = messages('servers: ["${HOST}"]\nlog:\n  level: ${LEVEL}\n')
    assert [message.partition(": the env")[0] for message in found] == [
        "config.yaml:1: servers",
        "config.yaml:3: log.level",
    ]


def test_a_value_inherited_from_an_anchor_can_be_overridden(read: Read) -> None:
    config = read(f"{SERVER}pools:\n  a: &a {{min: 2, nice: 5}}\n  b:\n    <<: *a\n    min: 3\n")
    pool = config.pools["b"]
    assert (str(pool.min), pool.nice) == ("3", 5)


def test_for_an_empty_file_only_the_missing_job_server_is_reported(messages: Messages) -> None:
    expected = (
        "config.yaml:1: a job server is missing: write server: for the bundled one, or servers: [HOST:PORT] for others"
    )
    assert messages("") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "server:\n\tlisten: 4730\n",
            "config.yaml:2: not valid YAML: found character '\\t' that cannot start any token; "
            "indent with blanks, not with tabs",
        ),
        (
            "server: {listen: ${PORT}}\n",
            "config.yaml:1: not valid YAML: expected ',' or '}', but got '{'; "
            'inside { } and [ ] a variable needs quotes, as in {port: "${PORT}"}',
        ),
        (
            "server:\nlog: level: info\n",
            "config.yaml:2: not valid YAML: mapping values are not allowed here; "
            "check the indentation; text that holds ': ' needs quotes",
        ),
        (
            "pools:\n  a:\n    functions: *\n",
            "config.yaml:3: not valid YAML: expected alphabetic or numeric character, but found '\\n'; "
            "text that starts with '*' needs quotes, as in functions: \"*\"",
        ),
        (
            "server:\nfunctions: [a, b\n",
            "config.yaml:3: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
        ("a: 1\n--- \nb: 2\n", "config.yaml:2: not valid YAML: but found another document"),
        ("server:\nprefix: \x07\n", "config.yaml:2: not valid YAML: the character '\\x07' is not allowed"),
        ("- a\n", "config.yaml:1: a configuration is a mapping (lines of 'key: value'), such as workers_dir: workers"),
        ("[" * 5000, "config.yaml: not usable YAML: lists or mappings are nested too deeply"),
    ],
)
def test_invalid_yaml_gives_one_message_with_its_line(messages: Messages, text: str, expected: str) -> None:
    assert messages(text) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "!!python/object/apply:os.system [ls]",
            "only plain YAML is allowed, without the tag 'python/object/apply:os.system'",
        ),
        ("!secret x", "only plain YAML is allowed: 'x' can't be read as '!secret'"),
        ("!!int x", "only plain YAML is allowed: 'x' can't be read as 'tag:yaml.org,2002:int'"),
        ("&a [*a]", "an alias can't stand for a value that it is part of"),
        ("{<<: 3}", "'<<' takes a mapping, or a list of them"),
        ("{? [x] : 1}", "a key is plain text, not a list or a mapping"),
    ],
)
def test_only_plain_yaml_is_read(messages: Messages, text: str, expected: str) -> None:
    assert messages(with_settings(text)) == [f"config.yaml:5: functions.f.settings.a: {expected}"]


def test_aliases_can_not_expand_a_small_file_without_limit(messages: Messages) -> None:
    lines = ["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    found = messages("\n".join(lines))
    assert any(f"the file stands for more than {MAX_ENTRIES} values: use fewer aliases" in text for text in found)


def test_the_message_for_a_repeated_key_names_both_lines(messages: Messages) -> None:
    text = "server:\n  listen: 4730\n  store: memory\n  listen: 4731\nlog: {level: info, level: debug}\n"
    assert messages(text) == [
        "config.yaml:4: server.listen: the key is repeated, it stands in line 2 already: keep one of them",
        "config.yaml:5: log.level: the key is repeated, it stands in line 5 already: keep one of them",
    ]


def test_included_files_are_merged_section_by_section(read: Read) -> None:
    config = read(
        "include: [conf.d/*.yaml, more.yaml]\nserver:\npools: {a: {min: 1}}\n",
        {},
        {"conf.d/10.yaml": "pools: {b: {min: 2}}", "conf.d/20.yaml": "pools: {a: {max: 3}}", "more.yaml": "prefix: x."},
    )
    assert {name: (str(pool.min), str(pool.max)) for name, pool in config.pools.items()} == {
        "a": ("1", "3"),
        "b": ("2", "None"),
    }
    assert config.prefix == "x."
    assert config.place("pools.b.min") == ("conf.d/10.yaml", 1)


def test_paths_in_an_included_file_start_at_its_folder(read: Read, folder: Path) -> None:
    (folder / "conf.d" / "modules").mkdir(parents=True)
    config = read(
        "include: conf.d/a.yaml\nserver:\n", {}, {"conf.d/a.yaml": "workers_dir: modules\nlog: {file: a.log}"}
    )
    assert config.workers_dir == (f"{folder}/conf.d/modules",)
    assert config.log.file == f"{folder}/conf.d/a.log"


@pytest.mark.parametrize(("written", "place"), [("syslog", "syslog"), ("./syslog", "{folder}/syslog")])
def test_the_word_syslog_is_the_system_log_and_a_path_is_a_file(
    read: Read, folder: Path, written: str, place: str
) -> None:
    config = read(f"{SERVER}log: {{file: {written}}}\n")
    assert config.log.file == place.format(folder=folder)


def test_the_message_for_a_key_set_in_two_files_names_both_places(messages: Messages) -> None:
    files = {"conf.d/a.yaml": "\nlog: {level: debug}\npools:\n  a: {functions: [y]}\n"}
    assert messages(
        "include: conf.d/*.yaml\nserver:\nlog: {level: info}\npools: {a: {functions: [x]}}\n", {}, files
    ) == [
        "conf.d/a.yaml:2: log.level: the key is set twice, at config.yaml:3 already: keep one of them",
        "conf.d/a.yaml:4: pools.a.functions: the key is set twice, at config.yaml:4 already: keep one of them",
    ]


def test_a_file_that_several_globs_find_is_read_once(read: Read) -> None:
    config = read("include: ['*.yaml', a.yaml]\nserver:\n", {}, {"a.yaml": "prefix: x."})
    assert config.prefix == "x."


def test_a_glob_that_finds_no_file_is_no_mistake(read: Read, folder: Path) -> None:
    (folder / "conf.d").mkdir()
    assert read("include: conf.d/*.yaml\nserver:\n").include == ("conf.d/*.yaml",)


@pytest.mark.parametrize(
    ("include", "files", "expected"),
    [
        ("gone.yaml", {}, "config.yaml:1: include: the file gone.yaml does not exist: create it, or correct its name"),
        ("no/*.yaml", {}, "config.yaml:1: include: the folder no does not exist: create it, or correct its name"),
        (
            "workers",
            {},
            "config.yaml:1: include: the file workers can't be read: it is a folder, name a file in it",
        ),
        (
            "config.yaml/*.yaml",
            {},
            "config.yaml:1: include: the folder config.yaml can't be read: a folder is expected where a file stands",
        ),
        (
            "'*/*.yaml'",
            {},
            "config.yaml:1: include: only file names can hold wildcards, as in conf.d/*.yaml, not '*/*.yaml'",
        ),
        ("a.yaml", {"a.yaml": "include: b.yaml"}, "a.yaml:1: include: only the main file can include others"),
        ("a.yaml", {"a.yaml": "x: [1"}, "a.yaml:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("[1]", {}, "config.yaml:1: include: text is expected, not 1 (put it in quotes)"),
        ("{a: b}", {}, "config.yaml:1: include: text is expected, not a mapping"),
    ],
)
def test_an_include_that_can_not_be_read_is_reported(
    messages: Messages, include: str, files: dict[str, str], expected: str
) -> None:
    assert messages(f"include: {include}\n", {}, files) == [expected]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gone.yaml", "gone.yaml: the file does not exist: create it, or correct its name"),
        ("workers", "workers: the file can't be read: it is a folder, name a file in it"),
        ("latin1.yaml", "latin1.yaml:2: the text is not UTF-8: save the file in this encoding"),
        ("large.yaml", "large.yaml: more than 4 MiB: this is no configuration"),
    ],
)
def test_a_main_file_that_can_not_be_read_gives_one_message(folder: Path, path: str, expected: str) -> None:
    (folder / "latin1.yaml").write_bytes(b"server:\nprefix: \xe9\n")
    (folder / "large.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError) as caught:
        load(Path(path), {})
    assert str(caught.value) == expected


def test_files_and_folders_without_permission_are_reported_with_the_remedy(
    open_folder: Path, ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    (open_folder / "config.yaml").write_text("server:\ninclude: secret.yaml\nworkers_dir: [readable, secret]\n")
    (open_folder / "secret.yaml").touch(0o000)
    (open_folder / "secret").mkdir(0o000)
    (open_folder / "readable").mkdir(0o755)
    with ordinary_user(), pytest.raises(ConfigError) as caught:
        load(open_folder / "config.yaml", {})
    remedy = "can't be read: allow this user to, or run as another one"
    assert str(caught.value).splitlines() == [
        f"{open_folder}/config.yaml:2: include: the file {open_folder}/secret.yaml {remedy}",
        f"{open_folder}/config.yaml:3: workers_dir: the folder {open_folder}/secret {remedy}",
    ]


def test_every_path_that_does_not_exist_is_reported(messages: Messages, folder: Path) -> None:
    text = (
        "workers_dir: [workers, gone]\n"
        "server: {store: 'sqlite:///gone/jobs.db'}\n"
        "log: {file: gone/x.log}\n"
        "servers: [{address: a, ca_file: ca.pem}]\n"
        "pools:\n  p: {command: php, cwd: gone}\n"
    )
    end = "does not exist: create it, or correct its name"
    assert messages(text) == [
        f"config.yaml:1: workers_dir: the folder {folder}/gone {end}",
        f"config.yaml:2: server.store: the folder {folder}/gone {end}",
        f"config.yaml:3: log.file: the folder {folder}/gone {end}",
        f"config.yaml:4: servers.ca_file: the file {folder}/ca.pem {end}",
        f"config.yaml:6: pools.p.cwd: the folder {folder}/gone {end}",
    ]


def test_the_default_folder_of_modules_is_beside_the_file(read: Read, folder: Path) -> None:
    assert read(SERVER).workers_dir == (f"{folder}/workers",)


def test_programs_need_no_folder_of_modules(read: Read, messages: Messages, folder: Path) -> None:
    (folder / "workers").rmdir()
    assert read("server:\npools: {p: {command: php worker.php}}\n").workers_dir == ()
    assert messages(SERVER) == [
        f"config.yaml:1: workers_dir: the folder {folder}/workers does not exist: create it, or correct its name"
    ]
