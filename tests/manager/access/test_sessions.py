"""Sessions: whose they are, and what ends them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gearman_manager.access import session_file
from gearman_manager.access.caller import Caller, Kind, Role
from gearman_manager.access.credentials import Credentials
from gearman_manager.access.session_file import SessionFile
from gearman_manager.access.sessions import Sessions
from gearman_manager.access.users_file import User, make_user

ALICE = make_user("alice", Role.OPERATOR, "correct horse")


def sessions_in(folder: Path, alice: User = ALICE) -> Sessions:
    sessions = Sessions(SessionFile(folder / session_file.FILE_NAME))
    sessions.credentials = Credentials({"full": b"0123456789abcdef"}, {"alice": alice})
    return sessions


def whose(sessions: Sessions, cookie: str) -> Caller | None:
    return sessions.caller(cookie, "10.0.0.1", is_https=True)


def test_a_session_has_the_name_and_role_of_the_login_after_a_restart_too(tmp_path: Path) -> None:
    cookie = sessions_in(tmp_path).begin(Kind.USER, "alice")
    caller = whose(sessions_in(tmp_path), cookie)
    assert caller is not None
    assert (caller.kind, caller.name, caller.role) == (Kind.USER, "alice", Role.OPERATOR)
    assert caller.is_https
    assert len(caller.csrf) == 64
    by_token = whose(sessions_in(tmp_path), sessions_in(tmp_path).begin(Kind.TOKEN, "full"))
    assert by_token is not None
    assert (by_token.kind, by_token.role) == (Kind.TOKEN, Role.ADMIN)
    assert by_token.csrf != caller.csrf
    assert (tmp_path / session_file.FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_changed_password_a_changed_role_and_a_removed_user_end_it(tmp_path: Path) -> None:
    cookie = sessions_in(tmp_path).begin(Kind.USER, "alice")
    assert whose(sessions_in(tmp_path, make_user("alice", Role.OPERATOR, "correct horse")), cookie) is None
    assert whose(sessions_in(tmp_path, User("alice", Role.ADMIN, ALICE.password_hash)), cookie) is None
    removed = sessions_in(tmp_path)
    removed.credentials = Credentials()
    assert whose(removed, cookie) is None


def test_a_logout_ends_it_wherever_its_cookie_is_after_a_restart_too(tmp_path: Path) -> None:
    sessions = sessions_in(tmp_path)
    cookie, other = (sessions.begin(Kind.USER, "alice") for _ in range(2))
    caller = whose(sessions, cookie)
    assert caller is not None
    sessions.end(caller.session)
    assert whose(sessions, cookie) is None
    assert whose(sessions_in(tmp_path), cookie) is None
    assert whose(sessions_in(tmp_path), other) is not None


def test_it_ends_after_its_time_and_cannot_be_forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = sessions_in(tmp_path)
    cookie = sessions.begin(Kind.USER, "alice")
    content, _, rest = cookie.partition(".")
    for forged in ("", "x", cookie[:-1] + "A", content + "A." + rest, "a" * 10_000, "." * 100):
        assert whose(sessions, forged) is None
    later = time.time() + sessions.lifetime_s + 2
    monkeypatch.setattr(time, "time", lambda: later)
    assert whose(sessions, cookie) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "short", "ended": {}}', '{"key": 3, "ended": 4}'])
def test_a_file_that_makes_no_sense_is_made_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / session_file.FILE_NAME
    file.write_text(content)
    file.chmod(0o600)
    cookie = sessions_in(tmp_path).begin(Kind.USER, "alice")
    assert whose(sessions_in(tmp_path), cookie) is not None


def test_a_key_that_others_could_read_is_not_used(tmp_path: Path) -> None:
    cookie = sessions_in(tmp_path).begin(Kind.USER, "alice")
    (tmp_path / session_file.FILE_NAME).chmod(0o644)
    assert whose(sessions_in(tmp_path), cookie) is None
    assert (tmp_path / session_file.FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_the_ended_sessions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_file, "MOST_ENDED", 3)
    file = SessionFile(tmp_path / session_file.FILE_NAME)
    for number in range(5):
        file.end(f"s{number}", time.time() + 100 + number)
    assert [file.has_ended(f"s{number}") for number in range(5)] == [False, False, True, True, True]
