"""Reads GearmanManager's ini files as PHP reads them: sections, `key = value`, `key[] = value`, comments.

Every value keeps its line, so that messages and notes can name it. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from gearman_manager.config.error import ConfigError
from gearman_manager.config.problem import Problem

_SECTION: Final = re.compile(r"\[(?P<name>[^\[\]]+)\]\s*(?:[;#].*)?")
_ENTRY: Final = re.compile(r"(?P<key>[^=\[\]]+?)\s*(?P<several>\[\])?\s*=\s*(?P<value>.*)")
_QUOTED: Final = re.compile(r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)')\s*(?:;.*)?""")
_WORDS: Final = {"true": "1", "on": "1", "yes": "1", "false": "", "off": "", "no": "", "none": "", "null": ""}


@dataclass(slots=True)
class IniEntry:
    """A key's value, or several values if it was written with `[]`."""

    key: str
    values: list[str]
    line: int

    @property
    def text(self) -> str:
        """The value as one text; several are joined by commas, like GearmanManager's lists."""
        return ",".join(self.values)


@dataclass(slots=True)
class IniSection:
    """A section's entries, in the order of the file. As in PHP, the last entry of a name counts."""

    name: str
    line: int
    entries: dict[str, IniEntry] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """The value of a key; None if it is missing or empty."""
        entry = self.entries.get(key)
        return (entry.text or None) if entry is not None else None


def parse_ini(text: str, file: str) -> list[IniSection]:
    """The sections of an ini file.

    Raises:
        ConfigError: the text has lines that are not ini; each is named by its number.
    """
    sections: dict[str, IniSection] = {}
    current: IniSection | None = None
    problems = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        try:
            section = _SECTION.fullmatch(line)
            if section is not None:
                name = section["name"].strip()
                current = sections.setdefault(name, IniSection(name, number))
            elif current is None:
                raise ValueError("a key outside of any section: [GearmanManager] is expected above it")
            else:
                _take(current, line, number)
        except ValueError as error:
            problems.append(Problem(file, number, "", str(error)))
    if problems:
        raise ConfigError(problems)
    return list(sections.values())


def _take(section: IniSection, line: str, number: int) -> None:
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise ValueError("this is no line of an ini file: [section] or key = value is expected")
    key, value = match["key"].strip(), _value(match["value"].strip())
    if match["several"] and key in section.entries:
        section.entries[key].values.append(value)
    else:
        section.entries[key] = IniEntry(key, [value], number)


def _value(written: str) -> str:
    if written[:1] in ('"', "'"):
        quoted = _QUOTED.fullmatch(written)
        if quoted is None:
            raise ValueError("the quotation mark is not closed")
        if quoted["single"] is not None:
            return quoted["single"]
        return re.sub(r'\\(["\\])', r"\1", quoted["double"])
    bare = written.partition(";")[0].strip()
    return _WORDS.get(bare.lower(), bare)
