"""Turns YAML text into a tree of entries that know their lines, finds repeated keys and replaces variables.

It takes plain YAML only: text, numbers, booleans, lists and mappings, but no tags that build objects. Numbers are
decimal; dates, 0644 and 1:30 stay text. Pure: the text is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from gearman_manager.config.environment import ExpansionError, expand, variables_in
from gearman_manager.config.problem import Place, Places, Problem
from gearman_process.values.quoting import shown

#: A limit for files with aliases, which can make a small file expand without end.
MAX_ENTRIES: Final = 100_000

_TAG: Final = "tag:yaml.org,2002:"
_HINTS: Final = (
    ("cannot start any token", "\t", "indent with blanks, not with tabs"),
    ("", "${", 'inside { } and [ ] a variable needs quotes, as in {port: "${PORT}"}'),
    ("mapping values are not allowed", "", "check the indentation; text that holds ': ' needs quotes"),
    ("expected <block end>", "", "check the indentation: keys of one section start in the same column"),
    ("alias", "*", "text that starts with '*' needs quotes, as in functions: \"*\""),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a file: a mapping of entries, a list of entries, or a plain value. `place` is its key's place.

    `written` is the text in the file, if it names environment variables.
    """

    value: object
    place: Place
    written: str = ""

    def plain(self) -> object:
        """The value without the places."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def below(self, key: str = "") -> Iterator[tuple[str, Entry]]:
        """Every entry of this tree with its dotted name."""
        if key:
            yield key, self
        if isinstance(self.value, dict):
            for name, entry in self.value.items():
                yield from entry.below(f"{key}.{name}" if key else name)
        elif isinstance(self.value, list):
            for index, entry in enumerate(self.value):
                yield from entry.below(f"{key}[{index}]")


class _Loader(yaml.SafeLoader):
    """The safe loader, with fewer guesses about what plain text means."""

    #: The tags and patterns of plain scalars by their first character, in PyYAML's form.
    yaml_implicit_resolvers: dict[str, list[tuple[str, object]]] = {}  # noqa: RUF012 - shared on purpose, as in PyYAML


def _recognise(kind: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(
        _TAG + kind, re.compile(rf"^(?:{pattern})$"), [*first, *([""] if kind == "null" else [])]
    )


_recognise("null", r"~|null|Null|NULL|", "~nN")
_recognise("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO")
_recognise("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789")
_recognise("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
_recognise("merge", "<<", "<")


def read_document(text: str, file: str, environ: Mapping[str, str]) -> tuple[Entry, list[Problem]]:
    """The tree of `text` and its problems. Text that is not YAML gives an empty mapping."""
    top = Place(file, 1)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        return Entry({}, top), [_syntax_problem(error, text, file)]
    except RecursionError:
        return Entry({}, top), [Problem(file, 0, "", "not usable YAML: lists or mappings are nested too deeply")]
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"):
        return Entry({}, top), []
    if not isinstance(node, yaml.MappingNode):
        message = "a configuration is a mapping (lines of 'key: value'), such as workers_dir: workers"
        return Entry({}, top), [Problem(file, node.start_mark.line + 1, "", message)]
    builder = _Builder(file, environ)
    entry = builder.entry(node, "", top)
    return entry, builder.problems


def places_of(entry: Entry) -> Places:
    """The places of a tree's keys."""
    below = dict(entry.below())
    written = {key: inner.written for key, inner in below.items() if inner.written}
    return Places(entry.place.file, {key: inner.place for key, inner in below.items()}, written)


class _Builder:
    """Turns YAML nodes into entries and collects the problems that it meets."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._environ = environ
        self._resolver = _Loader("")
        self._entries = 0
        self._open: set[int] = set()

    def entry(self, node: yaml.Node, key: str, place: Place) -> Entry:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            if self._entries == MAX_ENTRIES + 1:
                self._report(node, key, f"the file stands for more than {MAX_ENTRIES} values: use fewer aliases")
            return Entry(None, place)
        if id(node) in self._open:
            self._report(node, key, "an alias can't stand for a value that it is part of")
            return Entry(None, place)
        self._open.add(id(node))
        try:
            has_variables = isinstance(node, yaml.ScalarNode) and variables_in(node.value)
            return Entry(self._value(node, key), place, node.value if has_variables else "")
        finally:
            self._open.discard(id(node))

    def _value(self, node: yaml.Node, key: str) -> object:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.entry(item, f"{key}[{index}]", self._place(item)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        self._report(node, key, f"only plain YAML is allowed, without the tag {shown(node.tag.removeprefix(_TAG))}")
        return None

    def _mapping(self, node: yaml.MappingNode, key: str) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            name = self._key(key_node, key)
            if name is None:
                continue
            inner = f"{key}.{name}" if key else name
            if name in entries:
                first = entries[name].place.line
                self._report(
                    key_node, inner, f"the key is repeated, it stands in line {first} already: keep one of them"
                )
                continue
            entries[name] = self.entry(value_node, inner, self._place(key_node))
        for other in merged:
            entries = self._merged(other, key) | entries
        return entries

    def _merged(self, node: yaml.Node, key: str) -> dict[str, Entry]:
        value = self.entry(node, key, self._place(node)).value
        if isinstance(value, dict):
            return value
        self._report(node, key, "'<<' takes a mapping, or a list of them")
        return {}

    def _key(self, node: yaml.Node, key: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._report(node, key, "a key is plain text, not a list or a mapping")
            return None
        return self._expanded(node, key)

    def _scalar(self, node: yaml.ScalarNode, key: str) -> object:
        text = self._expanded(node, key)
        if text is None:
            return None
        tag = node.tag
        if text != node.value and node.style is None:
            # A variable's value is read as if it stood in the file itself; in quotes it is text.
            tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        try:
            return _constructed(tag, text)
        except (ValueError, KeyError):
            self._report(node, key, f"only plain YAML is allowed: {shown(text)} can't be read as {shown(tag)}")
            return None

    def _expanded(self, node: yaml.ScalarNode, key: str) -> str | None:
        try:
            return expand(node.value, self._environ)
        except ExpansionError as error:
            self._report(node, key, str(error))
            return None

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._file, node.start_mark.line + 1)

    def _report(self, node: yaml.Node, key: str, message: str) -> None:
        self.problems.append(Problem(self._file, node.start_mark.line + 1, key.partition("[")[0], message))


def _constructed(tag: str, text: str) -> object:
    """The value of a scalar; KeyError for a tag or a word that is not plain YAML."""
    kind = tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return yaml.SafeLoader.bool_values[text.lower()]
    return {"str": str, "int": int, "float": float, "merge": str}[kind](text)


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    line, reason, context = 0, "it can't be read", ""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        context = error.context or ""
        reason = error.problem or context or reason
    elif isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character {text[error.position]!a} is not allowed"
    written = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    hint = next((hint for part, sign, hint in _HINTS if part in f"{context} {reason}" and sign in written), "")
    return Problem(file, line, "", f"not valid YAML: {reason}" + (f"; {hint}" if hint else ""))
