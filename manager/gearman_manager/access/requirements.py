"""What a route needs of its callers, written beside it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from gearman_manager.access.caller import Role

View = TypeVar("View", bound=Callable[..., Any])
#: Methods that change nothing.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ATTRIBUTE: Final = "needed_role"


def needs(role: Role | None) -> Callable[[View], View]:
    """Decorates a view function, below the line that gives it its route: callers need this role. None: everybody may,
    if `gate.py` lets the path through too.

    Without it whoever may look may read, and whoever may operate may change.
    """

    def note(view: View) -> View:
        view.__dict__[_ATTRIBUTE] = role
        return view

    return note


def needed_role(view: Callable[..., Any] | None, method: str) -> Role | None:
    """The role that callers of a view need."""
    return getattr(view, _ATTRIBUTE, Role.VIEWER if method in SAFE_METHODS else Role.OPERATOR)
