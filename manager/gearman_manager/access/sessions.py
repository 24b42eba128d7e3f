"""Sessions of browsers: a signed cookie that says who has logged in. The manager keeps none of them.

Each request compares what was shown at the login with what would have to be shown now, so a changed password, a
changed token or a removed user ends the session at once.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer

from gearman_manager.access.caller import Caller, Kind
from gearman_manager.access.credentials import Credentials
from gearman_manager.access.session_file import SessionFile

COOKIE: Final = "gearman_session"
#: A longer cookie is none of ours.
MAX_COOKIE_CHARACTERS: Final = 2048
DEFAULT_LIFETIME_S: Final = 12 * 3600.0


class Sessions:
    """Begins, recognizes and ends sessions."""

    def __init__(self, file: SessionFile) -> None:
        self._file = file
        self.credentials = Credentials()
        self.lifetime_s = DEFAULT_LIFETIME_S

    def begin(self, kind: Kind, name: str) -> str:
        """The cookie of a new session for a caller that the credentials know."""
        shown = self.credentials.fingerprint(kind.value, name)
        return self._serializer().dumps([kind.value, name, shown, secrets.token_urlsafe(12)])

    def caller(self, cookie: str, address: str, *, is_https: bool) -> Caller | None:
        """Whose session it is; None: it is over, or none of ours."""
        content = self._content(cookie)
        if content is None:
            return None
        kind, name, shown, session = content
        now = self.credentials.fingerprint(kind, name)
        if now is None or not hmac.compare_digest(now, str(shown)) or self._file.has_ended(session):
            return None
        role = self.credentials.role(kind, name)
        return Caller(Kind(kind), name, role, address, is_https, self.csrf(session), session)

    def end(self, session: str) -> None:
        """The session is over, wherever its cookie is."""
        self._file.end(session, time.time() + self.lifetime_s)

    def csrf(self, what: str) -> str:
        """What forms of a session, or of a user behind a proxy, must bring along: no other page knows it."""
        return hmac.new(self._file.key.encode(), f"csrf {what}".encode(), hashlib.sha256).hexdigest()

    def _content(self, cookie: str) -> list[Any] | None:
        if len(cookie) > MAX_COOKIE_CHARACTERS:
            return None
        try:
            content = self._serializer().loads(cookie, max_age=int(self.lifetime_s))
        except BadData:
            return None
        is_ours = isinstance(content, list) and len(content) == 4 and content[0] in ("token", "user")
        return content if is_ours else None

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._file.key, salt="session", signer_kwargs={"digest_method": hashlib.sha256})
