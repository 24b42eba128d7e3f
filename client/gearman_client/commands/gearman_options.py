"""The options of the `gearman` command: the table, the values that they may have, and the help."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from gearman_client.commands.command_line import server_options
from gearman_client.commands.options import Given, Option, Sections, UsageError, help_text

USAGE: Final = """\
usage: gearman [options] [DATA ...]
       gearman -w [options] [-- COMMAND [ARGUMENT ...]]"""

#: What a shell offers for --option.
_KEYS: Final = (
    "retries= backoff= max_backoff= timeout= keep_result= expires= expired_letter= key= priority= unique_for= "
    "unique_until= replace= submission= batch= then= on_failure="
)
#: Those that have an option of their own.
_OWN_OPTIONS: Final = {"delay": "--delay", "at": "--at", "tags": "--tag", "tag": "--tag", "headers": "--header"}
#: Those that mean something only to jobs with equal unique ids.
_ABOUT_UNIQUE: Final = ("unique_for", "unique_until", "replace")
#: Those that only background jobs have.
_ABOUT_BACKGROUND: Final = ("batch", "then", "on_failure")

SECTIONS: Final[Sections] = (
    (
        "Client and worker",
        (
            Option("f", "", "FUNCTION", "name of the function; may be repeated", "function"),
            *server_options(long_names=False),
            Option("t", "", "MS", "give up after so many milliseconds"),
            Option("n", "", "", "one job (worker: one WORK_DATA packet) for each line"),
            Option("N", "", "", "like -n, without the newline"),
            Option("i", "", "FILE", "keep the number of this process in FILE while it runs", "file"),
            Option("d", "", "", "run without the terminal; all input and output is empty"),
            Option("H", "help", "", "print this help"),
            Option("", "completion", "SHELL", "print the completion for bash, zsh or fish", "bash zsh fish"),
        ),
    ),
    (
        "Client",
        (
            Option("b", "", "", "background: do not wait for results"),
            Option("", "delay", "TIME", "run the job no earlier than so many seconds, or 5m, from now"),
            Option("", "at", "TIME", "run it no earlier than 2030-01-31T12:00, or Unix seconds"),
            Option("", "tag", "TEXT", "a text to find the job by; may be repeated"),
            Option("", "header", "NAME=TEXT", "travels to the function; may be repeated"),
            Option("", "option", "KEY=VALUE", "another option, as retries=3 or expires=10m", _KEYS),
            Option("", "result", "HANDLE", "wait for a background job's kept result (-t 0: don't wait)", "handle"),
            Option(
                "", "map", "FILE", "a job for each line (-: of standard input), many at once, results in order", "file"
            ),
            Option(
                "", "done", "FILE", "with --map: note there which lines are done; the next run leaves them out", "file"
            ),
            Option("", "window", "N", "with --map: so many jobs at once (default: 200)"),
            Option("I", "", "", "high priority"),
            Option("L", "", "", "low priority"),
            Option("P", "", "", "write the function's name before its output"),
            Option("s", "", "", "empty workload; standard input is not read"),
            Option("u", "", "UNIQUE", "equal ids of a function are one job; -: the workload, #: its hash"),
            Option("v", "", "", "print the handles of jobs"),
            Option("", "json", "", "print a JSON object for each job, on a line of its own"),
        ),
    ),
    (
        "Worker",
        (
            Option("w", "", "", "work: COMMAND gets the workload on its input"),
            Option("c", "", "COUNT", "end after so many jobs"),
        ),
    ),
)

_CLOSING: Final = """\
Each DATA is a job; without any, standard input is one. Without -h and -p the servers of the environment's
GEARMAN_SERVERS count: HOST:PORT, several separated by commas.

Examples:
  gearman -f reverse hello
  gearman -f resize --map names.txt --done names.done
  gearman -w -f count -- wc -c"""


def gearman_help() -> str:
    """The text of --help."""
    return help_text(USAGE, SECTIONS, _CLOSING)


def milliseconds(text: str | None) -> int | None:
    """The value of -t."""
    return None if text is None else _whole(text, "-t", "a number of milliseconds from 0 up", 0)


def count(text: str | None) -> int | None:
    """The value of -c."""
    return None if text is None else _whole(text, "-c", "a number above 0", 1)


def window(text: str | None) -> int | None:
    """The value of --window."""
    return None if text is None else _whole(text, "--window", "a number above 0", 1)


def job_options(given: Given) -> dict[str, Any]:
    """The options of each job, as keywords of `Client.submit`; the library checks their values.

    Raises:
        UsageError: there is no such option, or it is no pair.
    """
    options: dict[str, Any] = {}
    for text in given.all("option"):
        key, value = _pair(text, "--option", "KEY=VALUE")
        read = _READERS.get(key)
        if read is None:
            others = f"use {_OWN_OPTIONS[key]}" if key in _OWN_OPTIONS else f"there are {', '.join(_READERS)}"
            raise UsageError(f"--option {text}: there is no option {key}; {others}")
        if key in _ABOUT_UNIQUE and "u" not in given:
            raise UsageError(f"--option {text}: it is about jobs with equal unique ids, which -u gives")
        if key in _ABOUT_BACKGROUND and "b" not in given:
            raise UsageError(f"--option {text}: only background jobs have it, which -b submits")
        options[key] = read(f"--option {key}", value)
    for name, read in (("delay", _duration), ("at", _time)):
        last = given.last(name)
        if last is not None:
            options[name] = read(f"--{name}", last)
    if "tag" in given:
        options["tags"] = given.all("tag")
    if "header" in given:
        options["headers"] = dict(_pair(text, "--header", "NAME=TEXT") for text in given.all("header"))
    return options


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise UsageError(f"{option} {text}: expected {expected}")
    return key, value


def _duration(option: str, text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # such as 5m, which the library reads


def _time(option: str, text: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: expected a time such as 2030-01-31T12:00, or Unix seconds") from None


def _expiry(option: str, text: str) -> datetime | float | str:
    return text if text[-1:] in ("s", "m", "h", "d") else _time(option, text)


def _number(option: str, text: str) -> int:
    return _whole(text, option, "a whole number from 0 up", 0)


def _flag(option: str, text: str) -> bool:
    if text not in ("0", "1", "false", "true"):
        raise UsageError(f"{option} {text}: expected true or false")
    return text in ("1", "true")


def _text(_option: str, text: str) -> str:
    return text


def _functions(_option: str, text: str) -> list[str]:
    return text.split(",")


_READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "retries": _number,
    "backoff": _duration,
    "max_backoff": _duration,
    "timeout": _duration,
    "keep_result": _duration,
    "expires": _expiry,
    "expired_letter": _flag,
    "key": _text,
    "priority": _number,
    "unique_for": _duration,
    "unique_until": _text,
    "replace": _flag,
    "submission": _text,
    "batch": _text,
    "then": _functions,
    "on_failure": _text,
}


def _whole(text: str, option: str, expected: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise UsageError(f"{option} {text}: expected {expected}")
    return value
