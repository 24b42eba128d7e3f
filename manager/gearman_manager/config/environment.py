"""Environment variables in a configuration: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar sign.

Any other dollar sign stays as it is. Pure: the environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PATTERN: Final = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<bad>\{))"
)


def variables_in(text: str) -> frozenset[str]:
    """The names of the variables in `text`."""
    return frozenset(match["name"] for match in _PATTERN.finditer(text) if match["name"])


class ExpansionError(ValueError):
    """A variable is not set, or is not written correctly."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables replaced. As in a shell, the default also stands in for an empty variable."""
    if "$" not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["bad"]:
            raise ExpansionError(
                "'${' starts a variable: write ${NAME} or ${NAME:-default}, or $${ for the text itself"
            )
        name, default = match["name"], match["default"]
        value = environ.get(name)
        if value is None and default is None:
            raise ExpansionError(
                f"the environment variable {name} is not set: set it, or give a default with ${{{name}:-default}}"
            )
        return value or default or ""

    return _PATTERN.sub(replacement, text)
