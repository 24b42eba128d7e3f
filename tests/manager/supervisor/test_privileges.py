"""The change to another user: it is final, or refused with a message."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from gearman_manager.config import Config, ConfigError
from gearman_manager.supervisor.privileges import wanted_account


def test_without_user_and_group_no_account_is_wanted() -> None:
    assert wanted_account(Config()) is None


@pytest.mark.parametrize("key", ["user", "group"])
def test_an_unknown_name_is_refused_with_its_key(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: there is no {key} no-such-name"):
        wanted_account(Config.model_validate({key: "no-such-name"}))


def test_root_becomes_the_user_and_other_users_are_refused() -> None:
    """In a process of its own, which imports everything before it changes the user."""
    program = """
import os, sys
from gearman_manager.config import Config
from gearman_manager.errors import StartError
from gearman_manager.supervisor.privileges import become, wanted_account
if os.getuid() == 0:
    become(wanted_account(Config.model_validate({"user": "nobody"})))
    print(os.getuid(), os.getgroups(), *map(os.environ.get, ("HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR")))
try:
    become(wanted_account(Config.model_validate({"user": "root"})))
    print("became root")
except StartError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *became, refused = result.stdout.splitlines()
    if os.getuid() == 0:
        nobody = pwd.getpwnam("nobody")
        assert became == [f"{nobody.pw_uid} [{nobody.pw_gid}] {nobody.pw_dir} nobody nobody None"]
    assert refused.startswith("only root can change the user")
