"""The stylesheet, the script and the icon. Everybody may have them: the login form needs them."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from gearman_manager.access.requirements import needs

_FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def add_static_files(routes: Blueprint) -> None:
    """The route of these files."""

    @routes.get("/static/<name>")
    @needs(None)
    def static_file(name: str) -> ResponseReturnValue:
        found = _files().get(name)
        if found is None:
            raise NotFound
        content, digest = found
        answer = Response(content, mimetype=_TYPES[Path(name).suffix])
        answer.set_etag(digest)
        # An address with the digest never has another content.
        is_lasting = request.args.get("v") == digest
        answer.headers["Cache-Control"] = "max-age=31536000, immutable" if is_lasting else "no-cache"
        return answer.make_conditional(request)


def static_address(root: str, name: str) -> str:
    """The address of a file, which changes with its content."""
    return f"{root}/static/{name}?v={_files()[name][1]}"


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Content and digest of each file."""
    files = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.suffix in _TYPES}
    return {name: (content, hashlib.blake2b(content, digest_size=8).hexdigest()) for name, content in files.items()}
