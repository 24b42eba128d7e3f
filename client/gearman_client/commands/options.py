"""The options of both commands as a table each: read from a command line as getopt does, and shown by --help. Pure.

Options may stand between the data, short ones may be joined, long ones may be cut short; after `--` all is data.
"""

from __future__ import annotations

import getopt
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_COLUMN = 28


class UsageError(Exception):
    """The command line makes no sense; the message says why."""


class Option(NamedTuple):
    """One option.

    short, long: without the dashes; one of them may be empty.
    value: the name of its value in the help; empty if it takes none.
    optional: the name of a value in the help that may follow as a word.
    completes: the kind of value that a shell can complete: `function`, `handle`, `file`, or words between blanks.
    """

    short: str
    long: str
    value: str
    text: str
    completes: str = ""
    optional: str = ""

    @property
    def name(self) -> str:
        """What the other modules call it."""
        return self.long or self.short

    @property
    def spellings(self) -> tuple[str, ...]:
        """As the user types it."""
        return tuple(f"{dashes}{name}" for dashes, name in (("-", self.short), ("--", self.long)) if name)


#: The options below each heading of the help.
Sections = Sequence[tuple[str, Sequence[Option]]]


class Given:
    """The options that a command line has; each may be repeated."""

    def __init__(self, values: Sequence[tuple[str, str]], words: list[str]) -> None:
        self.in_order = values
        self.words = words

    def __contains__(self, name: str) -> bool:
        return any(name == each for each, _ in self.in_order)

    def all(self, name: str) -> list[str]:
        """The values of an option, in their order."""
        return [value for each, value in self.in_order if each == name]

    def last(self, name: str) -> str | None:
        """The value that counts of an option that has one; None if it was not given."""
        values = self.all(name)
        return values[-1] if values else None


def options_of(sections: Sections) -> list[Option]:
    """All options of all sections."""
    return [option for _, options in sections for option in options]


def read_options(sections: Sections, arguments: Sequence[str]) -> Given:
    """Read a command line.

    Raises:
        UsageError: an option that there is not, or one without its value.
    """
    options = options_of(sections)
    short = "".join(option.short + (":" if option.value else "") for option in options if option.short)
    long = [option.long + ("=" if option.value else "") for option in options if option.long]
    try:
        found, words = getopt.gnu_getopt(list(arguments), short, long)
    except getopt.GetoptError as error:
        raise UsageError(f"{_reason(error, options)}: --help shows the options") from error
    names = {spelling: option.name for option in options for spelling in option.spellings}
    return Given([(names[spelling], value) for spelling, value in found], words)


def _reason(error: getopt.GetoptError, options: Sequence[Option]) -> str:
    """The error of getopt as a sentence that says what to do. Only its text tells the kinds apart."""
    if error.msg.endswith(" must not have an argument"):
        return f"option --{error.opt} takes no value"
    fitting = [option for option in options if error.opt in (option.short, option.long)]
    if error.msg.endswith(" requires argument") and fitting:
        (option,) = fitting
        return f"option {option.spellings[-1 if error.opt == option.long else 0]} needs its value, {option.value}"
    if error.msg.endswith(" not a unique prefix"):
        longer = [f"--{option.long}" for option in options if option.long.startswith(error.opt)]
        return f"--{error.opt} may be {' or '.join(longer)}"
    return f"there is no {error.msg.removesuffix(' not recognized')}"


def help_text(usage: str, sections: Sections, closing: str) -> str:
    """The text of --help."""
    parts = [usage]
    for heading, options in sections:
        parts.append("\n".join([f"{heading}:", *(line for option in options for line in _lines(option))]))
    return "\n\n".join([*parts, closing]) + "\n"


def _lines(option: Option) -> Iterable[str]:
    names = ", ".join(option.spellings) + (
        f" {option.value}" if option.value else f" [{option.optional}]" if option.optional else ""
    )
    if len(names) + 4 > _COLUMN:
        yield f"  {names}"
        names = ""
    yield f"  {names}".ljust(_COLUMN) + option.text
