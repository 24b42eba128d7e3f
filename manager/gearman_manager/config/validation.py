"""Turns a tree of entries into a `Config`, or into all its problems at once. Pure.

Pydantic stops at a section's first stage: while a value is wrong, it applies no rules between values. So each wrong
entry is reported and removed, and the rest is validated again, until all of it has been checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from pydantic import ValidationError

from gearman_manager.config.checks import check
from gearman_manager.config.document import Entry, places_of
from gearman_manager.config.models import Config, placed
from gearman_manager.config.problem import Places, Problem
from gearman_manager.config.wording import Location, dotted, message_for, nearest_name, place_of_error, section_at

#: Each round removes at least one entry; further rounds would only repeat earlier problems.
_MAX_ROUNDS: Final = 20


def validated(tree: Entry, earlier: Sequence[Problem] = ()) -> tuple[Config | None, list[Problem]]:
    """The configuration in `tree` and all its problems. If there are any, it is only the valid rest.

    `earlier` holds the problems found while reading. They come first, and their mere consequences are left out.
    """
    places = places_of(tree)
    data = tree.plain()
    problems = list(earlier)
    broken = {key for problem in earlier for key in _affected(tuple(problem.key.split(".")))}
    config, taken_out = None, set[Location]()
    for _ in range(_MAX_ROUNDS):
        try:
            config = Config.model_validate(data)
            break
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                location = place_of_error(detail)
                problem = _problem(location, message_for(detail), places)
                is_consequence = detail["type"] == "missing" and location in taken_out
                if not is_consequence and not any(_follows(problem, cause) for cause in earlier):
                    problems.append(problem)
                broken |= _affected(_meant(location) if detail["type"] == "extra_forbidden" else location)
                _take_out(data, location)
                taken_out.add(location)
    if config is not None:
        problems += check(config, places, frozenset(broken))
    return (None if config is None else placed(config, places)), problems


def _problem(location: Location, message: str, places: Places) -> Problem:
    """A problem at `location`. An item of a list is shown under the list's key, with its own line."""
    key = dotted(location)
    keys = [part for part in location if isinstance(part, str)]
    return places.problem(dotted(tuple(keys)), message, at=key)


def _follows(problem: Problem, cause: Problem) -> bool:
    """Whether a problem follows from `cause`: a value that could not be read is missing, which is no second mistake."""
    same_line = (problem.file, problem.line) == (cause.file, cause.line)
    return same_line and f"{problem.key}.".startswith(f"{cause.key}.")


def _affected(location: Location) -> set[str]:
    """The keys to which rules can't be applied any more. A file that can't be read may hold a job server."""
    parts = [str(part) for part in location]
    if parts[0] in ("", "include"):
        return {"server"}
    return {".".join(parts[:length]) for length in (1, 2, 3)}


def _meant(location: Location) -> Location:
    """The location of the known key that was probably meant by an unknown one."""
    nearest = nearest_name(str(location[-1]), section_at(location[:-1]).key_names())
    return (*location[:-1], nearest or location[-1])


def _take_out(data: Any, location: Location) -> None:
    """Removes a wrong entry. A list is removed as a whole, so that the places of its other items stay right.

    So is a single section where a list of them may stand: without the entry it might lack a key that it needs.
    """
    for part, after in pairwise(location):
        if isinstance(part, str) and isinstance(data, dict) and isinstance(data.get(part), (dict, list)):
            if isinstance(data[part], list) or (after == 0 and 0 not in data[part]):
                del data[part]
                return
            data = data[part]
    if isinstance(data, dict):
        # Pydantic calls a single value, where a list may stand, item 0 of a list that nobody wrote.
        data.pop(location[-2] if location[-1] == 0 and 0 not in data else location[-1], None)
