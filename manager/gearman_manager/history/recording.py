"""Has each request that changes something noted as an action, whatever blueprint its route is in."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, g, request

from gearman_manager.access.caller import Caller
from gearman_manager.access.guards import acting_caller
from gearman_manager.access.requirements import SAFE_METHODS
from gearman_manager.history.action import Action, shortened
from gearman_manager.history.action_log import ActionLog

_API: Final = "/api/v1/"
_VARIABLE: Final = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
#: The keys of a JSON body that name the target.
_NAMES: Final = ("name", "id", "function")
#: Those that are not kept.
_HIDDEN: Final = ("workload", "password", "token")
#: The last moment that is told: thousands of years ahead.
_LAST_S: Final = 2.0**36


def record_actions(app: Flask, actions: ActionLog) -> None:
    """Note the requests of callers that are somebody; the log tells of refused logins by itself."""

    @app.after_request
    def note(answer: Response) -> Response:
        caller = acting_caller()
        if request.method not in SAFE_METHODS and request.url_rule is not None and caller.role is not None:
            actions.note(_action(caller, answer))
        return answer


def say_action(what: str, target: str, details: str = "") -> None:
    """Have the request that is carried out just now noted under these words, instead of those of its path."""
    g.action, g.details = (what, target), details


def say_outcome(outcome: str) -> None:
    """Have the request noted with this end, since its answer is a page."""
    g.outcome = outcome


def utc(unix_s: float) -> str:
    """A moment as details of actions tell it; one beyond the calendar's end is cut."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(unix_s, _LAST_S)))


def acting_again(actions: ActionLog) -> Callable[[str, str, str], None]:
    """For what goes on after the answer: notes its end, with what, the target and the details, as a further action of
    the caller of the request that is carried out just now."""
    caller = acting_caller()

    def note(what: str, target: str, details: str) -> None:
        actions.note(_made(caller, (what, target, details), HTTPStatus.OK, ""))

    return note


def _action(caller: Caller, answer: Response) -> Action:
    rule = str(request.url_rule).removeprefix(_API).strip("/")
    body = request.get_json(silent=True, force=True) if request.path.startswith(_API) else None
    what, target = g.get("action") or (_words(rule), _target(rule, body))
    return _made(caller, (what, target, _details(body)), answer.status_code, g.get("outcome") or _outcome(answer))


def _made(caller: Caller, words: tuple[str, str, str], status: int, outcome: str) -> Action:
    """An action of just now; its words are what, the target and the details."""
    what, target, details = map(shortened, words)
    return Action(
        at=round(time.time(), 3),
        who=shortened(caller.who),
        role=caller.role.word if caller.role is not None else "",
        address=shortened(caller.address),
        what=what,
        target=target,
        details=details,
        status=status,
        outcome=shortened(outcome),
    )


def _details(body: Any) -> str:
    """What was said of the action itself, or its body without what may be nobody's business."""
    if "details" in g:
        return str(g.details)
    if isinstance(body, dict):
        body = {name: "…" if name in _HIDDEN else value for name, value in body.items()}
    return "" if body is None else json.dumps(body, ensure_ascii=False)


def _words(rule: str) -> str:
    """The words of a rule without its variables; a choice of words is the chosen one."""
    words = []
    for part in rule.split("/"):
        variable = _VARIABLE.fullmatch(part)
        if variable is None:
            words.append(part)
        elif variable[1] == "any":
            words.append(str((request.view_args or {})[variable[2]]))
    return " ".join(words)


def _target(rule: str, body: Any) -> str:
    """The names in the path, in the query and in the body."""
    given = request.view_args or {}
    names = [str(given[name]) for kind, name in _VARIABLE.findall(rule) if kind != "any"]
    if isinstance(body, dict):
        names += [str(body[name]) for name in _NAMES if body.get(name)]
        handles = body.get("handles")
        names += [str(handle) for handle in handles] if isinstance(handles, list) else []
    return " ".join([*names, *request.args.values()])


def _outcome(answer: Response) -> str:
    """The answer's text, or a problem's reason."""
    if answer.direct_passthrough or not answer.is_json:
        return ""
    content = answer.get_json(silent=True)
    if isinstance(content, dict) and answer.status_code >= 400:
        return str(content.get("detail", ""))
    return answer.get_data(as_text=True).strip()
