"""Makes answers of templates: a whole page, or only its part that changes, for the script.

The part comes with a tag of its content, so that one that has not changed is not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Response, current_app, render_template, request

from gearman_manager.access.guards import current_caller
from gearman_manager.dashboard.shared_parts import TOKEN_PLACE, SharedParts

#: The header by which the script asks for the part that changes.
PART_HEADER: Final = "X-Part"
#: How often the script asks, unless events tell it: seconds; 0: never.
EVERY_S: Final = 2
#: For lists that job servers are asked for.
SELDOM_S: Final = 5


#: The header that tells the script how old a part may be, in milliseconds.
AGE_HEADER: Final = "X-Part-Age"
_shared: Final = SharedParts()


def page(template: str, *, status: int = 200, every: int = EVERY_S, events: bool = False, **values: Any) -> Response:
    """The answer that shows a template. The script asks for its part again `every` so many seconds, or, with `events`,
    when the overview's events tell that something has happened."""
    if PART_HEADER in request.headers:
        return answer_of_part(render_template(template, frame="part.html", **values), status)
    text = render_template(template, frame="frame.html", every=every, events=events, **values)
    return _answer(text, status)


def shared_page(
    template: str, make_values: Callable[[], Mapping[str, Any]], apart: Mapping[str, Any] | None = None
) -> Response:
    """The same for a page of which many ask for the part that changes: it depends on the reader's role alone, and on
    the values of what is asked for by itself."""
    own = apart or {}
    if PART_HEADER not in request.headers:
        return page(template, events=True, **make_values(), **own)
    caller = current_caller()

    def make() -> str:
        return render_template(template, frame="part.html", csrf_token=TOKEN_PLACE, **make_values(), **own)

    part = _shared.get((current_app, template, request.root_path, caller.role, *own.values()), make)
    answer = answer_of_part(part.text.replace(TOKEN_PLACE, caller.csrf), 200)
    answer.headers[AGE_HEADER] = str(round(part.lasts_s * 1000))
    return answer


def answer_of_part(text: str, status: int) -> Response:
    """The answer that has only a part of a page, unless its reader has the same already."""
    answer = _answer(text, status)
    answer.set_etag(hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest())
    answer.make_conditional(request)
    return answer


def _answer(text: str, status: int) -> Response:
    answer = Response(text, status, mimetype="text/html")
    answer.headers["Vary"] = PART_HEADER
    return answer
