"""Completion in a shell: of options, and of functions and handles, which the job server is asked for.

`--completion SHELL` prints a script for the shell. It calls the command with `_GEARMAN_COMPLETE=words` and with the
words up to the cursor, and gets lines `KIND TAB VALUE TAB TEXT`. This runs while a user types: it fails without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gearman_client.admin.admin import AdminClient, connect_admin
from gearman_client.commands.command_line import ExitCode, server_addresses
from gearman_client.commands.completion_scripts import SCRIPTS, variable_of
from gearman_client.commands.options import Given, Option, Sections, UsageError, options_of, read_options
from gearman_client.commands.streams import STDOUT, write_all
from gearman_client.errors import GearmanError

_TIMEOUT_S: Final = 1.0
#: Names that a shell takes as they are. Others are not offered: on a command line they could do something.
_HARMLESS: Final = re.compile(r"[\w.,:/@%+-]+", re.ASCII)


class Candidate(NamedTuple):
    """A word to offer; the kinds `file` and `command` stand for the names of files, and of programs."""

    kind: str
    value: str = ""
    text: str = ""


def print_script(command: str, shell: str) -> int:
    """Print what a shell has to evaluate; returns the exit code.

    Raises:
        UsageError: no such shell.
    """
    script = SCRIPTS.get(shell)
    if script is None:
        raise UsageError(f"--completion {shell}: expected {', '.join(SCRIPTS)}")
    write_all(STDOUT, script.replace("@COMMAND@", command).replace("@VARIABLE@", variable_of(command)).encode())
    return ExitCode.SUCCESS


def answer(command: str, sections: Sections, words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Answer a script, or print one for `bash_source` and the like; returns the exit code."""
    asked = environment[variable_of(command)]
    if asked != "words":
        return print_script(command, asked.removesuffix("_source"))
    lines = ("\t".join(candidate) + "\n" for candidate in candidates(sections, words, environment))
    write_all(STDOUT, "".join(lines).encode("utf-8", "surrogateescape"))
    return ExitCode.SUCCESS


def candidates(sections: Sections, words: Sequence[str], environment: Mapping[str, str]) -> Iterator[Candidate]:
    """The words that can stand in place of the last one."""
    *before, typed = words or [""]
    options = options_of(sections)
    if "--" in before:
        is_program = before[-1] == "--" and "w" in _given(sections, before)
        yield Candidate("command" if is_program else "file")
        return
    name, equals, value = typed.partition("=")
    if typed.startswith("--") and equals:
        option = _with_value(options, name)
        yield from _values(option, value, before, sections, environment, f"{name}=") if option else ()
        return
    option = _with_value(options, before[-1]) if before else None
    joined = _joined(options, typed)
    if option is not None:
        yield from _values(option, typed, before[:-1], sections, environment)
    elif joined is not None:
        option, place = joined
        yield from _values(option, typed[place:], before, sections, environment, typed[:place])
    elif typed.startswith("-"):
        for each in options:
            for spelling in each.spellings:
                if spelling.startswith(typed):
                    yield Candidate("plain", spelling, each.text)
    else:
        yield Candidate("file")


def _with_value(options: Sequence[Option], word: str) -> Option | None:
    """The option that this word ends with, if its value has to follow: `-f`, `-bf` or `--host`."""
    is_short = word.startswith("-") and not word.startswith("--")
    for option in options:
        found = word[-1:] == option.short if is_short else word == f"--{option.long}"
        if found and option.value and (option.short or option.long):
            return option
    return None


def _joined(options: Sequence[Option], word: str) -> tuple[Option, int] | None:
    """The option whose value has begun in this word, and where: `-fre`, or `-bfre`."""
    if not word.startswith("-") or word.startswith("--"):
        return None
    named = {option.short: option for option in options if option.short}
    for place, letter in enumerate(word[1:-1], 2):
        option = named.get(letter)
        if option is None:
            return None
        if option.value:
            return option, place
    return None


def _values(
    option: Option,
    typed: str,
    before: Sequence[str],
    sections: Sections,
    environment: Mapping[str, str],
    prefix: str = "",
) -> Iterator[Candidate]:
    if option.completes == "file":
        yield Candidate("file")
    elif option.completes in ("function", "handle"):
        for name in _names(option.completes, _given(sections, before), environment):
            if name.startswith(typed) and _HARMLESS.fullmatch(name):
                yield Candidate("plain", prefix + name)
    else:
        for word in option.completes.split():
            if word.startswith(typed):
                yield Candidate("plain", prefix + word)


def _given(sections: Sections, words: Sequence[str]) -> Given:
    try:
        return read_options(sections, words)
    except UsageError:
        return Given([], [])


def _names(kind: str, given: Given, environment: Mapping[str, str]) -> list[str]:
    """The functions or handles of the first job server that answers."""
    try:
        servers = server_addresses(given, environment)
    except (GearmanError, UsageError):
        return []
    for server in servers:
        try:
            with connect_admin(server, _TIMEOUT_S) as admin:
                return sorted(_functions(admin) if kind == "function" else _handles(admin))
        except GearmanError:
            continue
    return []


def _functions(admin: AdminClient) -> set[str]:
    return {row.function for row in admin.status()}


def _handles(admin: AdminClient) -> set[str]:
    return {row.handle for row in admin.show_jobs()}
