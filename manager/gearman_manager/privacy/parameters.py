"""The places of a task's parameters that rules for keys mean: a call may give their arguments without names. Pure."""

from __future__ import annotations

import ast
from typing import Final

from gearman_manager.privacy.key_rules import key_rules

#: Arguments of one call that are looked at; all of them, if it is not known which ones have to be.
_ALL: Final = frozenset(range(1000))


def redacted_places(parameters: str, redact: tuple[str, ...]) -> frozenset[int]:
    """The places, from 0, in parameters such as `(user: str, password: str) -> bool`, as user code has them."""
    if not redact or not parameters:
        return frozenset()
    try:
        function = ast.parse(f"def f{parameters}: ...").body[0]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a default without a form in code
        return _ALL
    if not isinstance(function, ast.FunctionDef):
        return _ALL
    hide = key_rules(redact).hide
    named = [*function.args.posonlyargs, *function.args.args]
    places = {place for place, parameter in enumerate(named) if hide(parameter.arg)}
    rest = function.args.vararg
    return frozenset(places | ({*range(len(named), len(_ALL))} if rest is not None and hide(rest.arg) else set()))
