"""Rules for keys: a plain name is a key, in any letter case; `/…/` is a regular expression that is searched in keys.

The keys are others' words, and Python's regular expressions can take exponential time: an expression that could is
refused when the configuration is read, of a very long key only the begin is looked at, and of a text's keys only so
many are searched. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

#: Characters of a key that are looked at, of a rule, and rules of one function.
KEY_CHARACTERS: Final = 64
RULE_CHARACTERS: Final = 200
MOST_RULES: Final = 100
#: Ways through an expression by `?` and `|`, which a search may have to try at each place, and with a repetition.
_MOST_WAYS: Final = 256
_MOST_WAYS_WITH_REPEAT: Final = 4
#: Searches for keys of one text that were not seen before, each with one expression. New keys behind these count as
#: private, so that nobody has to wait for a text with thousands of them.
_MOST_SEARCHES: Final = 300
_LEAST_KEYS: Final = 10
#: Keys whose answers are remembered.
_REMEMBERED: Final = 4096
#: What counts in an expression: an escaped character, a set of characters, quantifiers, alternatives, groups.
_PARTS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?[^:)]*[:)]?|[*+?|()]|\{\d*,?\d*\}", re.DOTALL)


def checked_rule(value: object) -> str:
    """A rule as it is written.

    Raises:
        ValueError: it is none, or its expression may take too long.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or len(text) > RULE_CHARACTERS or not text.isprintable():
        raise ValueError(f"a key or an expression such as /^auth/ is expected, of at most {RULE_CHARACTERS} characters")
    if _is_expression(text):
        _check_expression(text[1:-1])
    return text


class KeyRules:
    """Tells which keys have values that are not shown."""

    def __init__(self, rules: Sequence[str]) -> None:
        """`rules` as `checked_rule` gives them."""
        self._names = frozenset(rule.casefold() for rule in rules if not _is_expression(rule))
        expressions = [f"(?:{rule[1:-1]})" for rule in rules if _is_expression(rule)]
        self._expression = re.compile("|".join(expressions), re.IGNORECASE) if expressions else None
        self._most_new_keys = max(_LEAST_KEYS, _MOST_SEARCHES // max(1, len(expressions)))
        self._answers: dict[str, bool] = {}

    def may_concern(self, text: str) -> bool:
        """False if no key of a text can be meant, which most lines of a log tell at once."""
        if self._expression is not None or "\\u" in text or "%" in text:
            return True
        folded = text.casefold()
        return any(name in folded for name in self._names)

    def hide(self, key: str) -> bool:
        """Whether a key's value is not shown."""
        if self._expression is None:
            return key.casefold() in self._names
        key = key[:KEY_CHARACTERS]
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = key.casefold() in self._names or self._expression.search(key) is not None
            self._answers[key] = answer
        return answer

    def patient(self) -> Callable[[str], bool]:
        """`hide` for the keys of one text."""
        left = self._most_new_keys

        def hide(key: str) -> bool:
            nonlocal left
            if key[:KEY_CHARACTERS] not in self._answers:
                left -= 1
                if left < 0:
                    return True
            return self.hide(key)

        return self.hide if self._expression is None else hide


@lru_cache(maxsize=256)
def key_rules(rules: tuple[str, ...]) -> KeyRules:
    """The same object for the same rules, so that functions share its memory."""
    return KeyRules(rules)


def _is_expression(rule: str) -> bool:
    return len(rule) > 2 and rule[0] == rule[-1] == "/"


def _check_expression(expression: str) -> None:
    try:
        re.compile(expression)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"/{expression}/ is no regular expression: {error}") from error
    repeats, ways, end_of_group = 0, 1, -1
    for found in _PARTS.finditer(expression):
        part = found[0]
        is_repeated_group = part[0] in "*+{" and found.start() == end_of_group
        if is_repeated_group or (part[0] == "\\" and part[1].isdigit()) or (part[:2] == "(?" and part != "(?:"):
            raise ValueError(
                f"/{expression}/: {part} is not possible here: a search in others' keys must not take long, so groups "
                "are neither repeated nor named nor referred to"
            )
        repeats += part[0] in "*+{"
        ways *= 2 if part == "?" else 1
        end_of_group = found.end() if part == ")" else -1
    ways *= expression.count("|") + 1
    if repeats > 1 or ways > (_MOST_WAYS_WITH_REPEAT if repeats else _MOST_WAYS):
        raise ValueError(
            f"/{expression}/: a search in others' keys must not take long: at most one *, + or {{}} is possible, and "
            f"few ? and |; several rules can stand for one"
        )
