"""Makes answers of templates: a whole page, or only its part that changes, for the script.

The part comes with a tag of its content, so that one that has not changed is not sent again.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from flask import Response, render_template, request

#: The header by which the script asks for the part that changes.
PART_HEADER: Final = "X-Part"
#: How often the script asks, unless events tell it; seconds.
EVERY_S: Final = 2


def page(template: str, *, status: int = 200, events: bool = False, **values: Any) -> Response:
    """The answer that shows a template. With `events` the overview's events tell when to ask again."""
    is_part = PART_HEADER in request.headers
    text = render_template(
        template, frame="part.html" if is_part else "frame.html", every=EVERY_S, events=events, **values
    )
    answer = Response(text, status, mimetype="text/html")
    answer.headers["Vary"] = PART_HEADER
    if is_part:
        answer.set_etag(hashlib.blake2b(text.encode(errors="replace"), digest_size=12).hexdigest())
        answer.make_conditional(request)
    return answer
