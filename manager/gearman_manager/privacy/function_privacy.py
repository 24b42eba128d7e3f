r"""What of one function's jobs is shown. A text comes back without what the rules hide; without rules it is the same
object. Of very long texts only the begin is looked at, and comes back. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gearman_manager.privacy.key_rules import key_rules
from gearman_manager.privacy.keyed_values import KeyedValue, keyed_values, placed_values
from gearman_manager.privacy.printed_form import as_printed, from_printed
from gearman_manager.privacy.value_forms import value_forms
from gearman_manager.privacy.workload_form import has_keys, lists_a_key

#: Stands for a value that is not shown.
MARK: Final = "[redacted]"
#: Characters of a text that are looked at.
MOST_CHARACTERS: Final = 32768
#: Shorter values are not looked for in errors: they would stand in any text.
_SHORTEST_VALUE: Final = 4
_LONGEST_VALUE: Final = 4096
_MOST_VALUES: Final = 200
#: Stands in a text for what is to become the mark, in which a later value might be found.
_PLACE: Final = "\0"
_NO_SECRETS: Final = frozenset({"true", "false", "null", "True", "False", "None"})
#: Texts, numbers and words of a workload; the second of each pair is there if it is a key.
_LEAVES: Final = re.compile(
    r"\"((?:[^\"\\]|\\.)*+)(?:\"(\s{0,9}:)?|\\?\Z)|'((?:[^'\\]|\\.)*+)(?:'(\s{0,9}:)?|\\?\Z)"
    r"|([^\s,:={}\[\]\"'&]++)(\s{0,4}[=:])?"
)


@dataclass(frozen=True, slots=True)
class FunctionPrivacy:
    """The rules for the jobs of one function."""

    redact: tuple[str, ...] = ()  #: rules for keys, as `checked_rule` gives them
    shows_workloads: bool = True
    redacted_places: frozenset[int] = frozenset()  #: of the arguments of a task whose names the rules mean
    cleans_errors: bool = False  #: whether its workers redact errors by the whole workload before they report them
    retention_s: float | None = None  #: how long failed jobs are kept; None: as long as the general bounds allow

    @property
    def hides(self) -> bool:
        """Whether anything is not shown."""
        return bool(self.redact) or not self.shows_workloads

    def workload(self, printed: str) -> str | None:
        r"""A workload, or the first part of one, in its printed form (`\xNN` for bytes that do not print).

        None: nothing of it is to be shown, because the function's workloads are private, or because no keys can be told
        apart in it, so that the rules can't be applied.
        """
        if not self.shows_workloads:
            return None
        if not self.redact:
            return printed
        text = from_printed(_bounded(printed))
        if not has_keys(text) or lists_a_key(text, key_rules(self.redact).patient()):
            return None
        shown = self._without_values(text)
        return printed if shown == text and len(printed) <= MOST_CHARACTERS else as_printed(shown)

    def text(self, text: str, workload: str = "") -> str:
        """An error, a traceback, a line of a log: without the values of its keys, and without those values that the
        rules hide in the job's workload (in its printed form), wherever they stand. Of too many values
        nothing is told."""
        if not self.hides or not text:
            return text
        text = _bounded(text)
        secrets = self._secrets(from_printed(workload[:MOST_CHARACTERS])) if workload else ()
        if secrets is None:
            return MARK
        for secret in secrets:  # one by one: an expression of all of them could take very long
            text = text.replace(secret, _PLACE)
        return self._without_values(text).replace(_PLACE, MARK)

    def mapping(self, pairs: Mapping[str, str], workload: str = "") -> dict[str, str]:
        """Pairs such as headers, by their keys."""
        hide = key_rules(self.redact).hide
        return {key: MARK if hide(key) else self.text(value, workload) for key, value in pairs.items()}

    def shows(self, looked_for: str, workload: str, *texts: str) -> bool:
        """Whether a text, however it is capitalised, stands in what is shown of a workload (in its printed form) or of
        its job's other texts. Else a search, letter by letter, would tell what is private."""
        wanted, shown = looked_for.lower(), self.workload(workload) or ""
        found = (shown, from_printed(shown), *(self.text(text, workload) for text in texts))
        return any(wanted in text.lower() for text in found)

    def _without_values(self, text: str) -> str:
        if self.redacted_places:
            text = _replaced(text, placed_values(text, self.redacted_places))
        rules = key_rules(self.redact)
        return _replaced(text, keyed_values(text, rules.patient())) if self.redact and rules.may_concern(text) else text

    def _secrets(self, workload: str) -> tuple[str, ...] | None:
        """The values of a workload that are not shown, the longest first; None: there are too many."""
        if self.shows_workloads:
            found_values = [*placed_values(workload, self.redacted_places)] if self.redacted_places else []
            found_values += keyed_values(workload, key_rules(self.redact).patient())
            hidden = [workload[value.start : value.end] for value in found_values]
        else:
            hidden = [workload]
        found: dict[str, None] = {}
        for content in hidden:
            found[content.strip()] = None
            for leaf in _LEAVES.finditer(content):
                if _is_value(leaf):
                    found[leaf[leaf.lastindex or 0]] = None
        values = [each for each in found if len(each) >= _SHORTEST_VALUE and each not in _NO_SECRETS]
        if len(values) > _MOST_VALUES:
            return None
        forms = {
            form for each in values for form in value_forms(each) if _SHORTEST_VALUE <= len(form) <= _LONGEST_VALUE
        }
        return tuple(sorted(forms - _NO_SECRETS, key=len, reverse=True))


def _is_value(leaf: re.Match[str]) -> bool:
    return leaf.lastindex is not None and leaf.lastindex % 2 == 1


def _replaced(text: str, values: Iterable[KeyedValue]) -> str:
    parts, position = [], 0
    for value in values:
        parts += [text[position : value.start], value.quote, MARK, value.quote]
        position = value.end
    return "".join([*parts, text[position:]]) if parts else text


def _bounded(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS] + f" … {len(text) - MOST_CHARACTERS:,} more characters are not shown"
