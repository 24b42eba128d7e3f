"""Accounts: found by name or number, and taken on for good. Each change of user has a process of its own."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys

import pytest

from gearman_process.account import Account, find_gid, find_user

ROOT = pwd.getpwuid(0)


@pytest.mark.parametrize("name", [ROOT.pw_name, "0"])
def test_a_user_is_found_by_name_and_by_number(name: str) -> None:
    assert find_user(name) == ROOT


@pytest.mark.parametrize("find", [find_user, find_gid])
def test_an_unknown_name_is_a_key_error(find: object) -> None:
    assert callable(find)
    with pytest.raises(KeyError):
        find("no-such-name")


def test_a_group_is_found_by_name_and_a_number_needs_no_entry() -> None:
    assert find_gid(grp.getgrgid(0).gr_name) == 0
    assert find_gid("54321") == 54321


def test_an_account_has_all_groups_of_its_user_and_may_get_another_main_group() -> None:
    own = Account.of_user(ROOT)
    assert (own.uid, own.gid) == (0, ROOT.pw_gid)
    assert set(own.groups) == set(os.getgrouplist(ROOT.pw_name, ROOT.pw_gid))
    other = Account.of_user(ROOT, 54321)
    assert other.gid == 54321
    assert 54321 in other.groups


def test_root_can_become_another_user_and_other_users_are_refused() -> None:
    program = """
import os
environ = {"HOME": "/root", "USER": "root", "XDG_RUNTIME_DIR": "/run/user/0", "PATH": "/bin"}
from gearman_process.account import Account, find_user
if os.getuid() == 0:
    Account.of_user(find_user("nobody")).take_on(environ)
    print(os.getuid(), os.getgid(), os.getgroups())
    print(environ)
try:
    Account.of_user(find_user("0")).take_on(environ)
except PermissionError:
    print("refused")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *became, refused = result.stdout.splitlines()
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        expected = {"HOME": nobody.pw_dir, "USER": "nobody", "PATH": "/bin", "LOGNAME": "nobody"}
        assert became == [f"{nobody.pw_uid} {nobody.pw_gid} [{nobody.pw_gid}]", str(expected)]
    assert refused == "refused"
