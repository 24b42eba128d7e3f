"""Users in a file: lines, hashes, mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearman_manager.access.caller import Role
from gearman_manager.access.users_file import UsersError, is_password_of, make_user, read_users, write_user


def test_a_written_user_is_read_again_with_the_password_and_replaces_one_of_the_name(tmp_path: Path) -> None:
    file = tmp_path / "users"
    write_user(file, make_user("alice", Role.ADMIN, "correct horse"))
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("# ours\n\n" + file.read_text())
    file.chmod(0o640)
    write_user(file, make_user("bob@example.com", Role.VIEWER, ""))
    write_user(file, make_user("alice", Role.OPERATOR, "battery staple"))
    users = read_users(file)
    assert [(user.name, user.role, user.has_password) for user in users.values()] == [
        ("alice", Role.OPERATOR, True),
        ("bob@example.com", Role.VIEWER, False),
    ]
    assert is_password_of(users["alice"], "battery staple")
    assert not is_password_of(users["alice"], "correct horse")
    assert not is_password_of(users["bob@example.com"], "-")
    assert not is_password_of(None, "")
    assert (file.read_text().splitlines()[0], file.stat().st_mode & 0o777) == ("# ours", 0o640)
    assert [entry.name for entry in tmp_path.iterdir()] == ["users"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alice", "line 1: NAME:ROLE:HASH is expected"),
        ("\nalice:root:-", "line 2: NAME:ROLE:HASH is expected"),
        ("a b:viewer:-", "line 1: NAME:ROLE:HASH is expected"),
        ("alice:viewer:secret", "line 1: this is no hash of a password"),
        ("alice:viewer:-\nalice:admin:-", "line 2: alice is there twice"),
    ],
)
def test_a_wrong_line_is_named_and_a_password_in_it_is_not_told(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "users"
    file.write_text(text)
    with pytest.raises(UsersError, match=why) as caught:
        read_users(file)
    assert "secret" not in str(caught.value)


def test_a_file_into_which_everybody_may_write_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("alice:admin:-")
    file.chmod(0o666)
    with pytest.raises(UsersError, match="chmod o-w"):
        read_users(file)


@pytest.mark.parametrize(("name", "password"), [("a:b", "long enough"), ("", "long enough"), ("alice", "short")])
def test_a_name_or_password_that_cannot_be_used_is_refused(name: str, password: str) -> None:
    with pytest.raises(UsersError):
        make_user(name, Role.VIEWER, password)
