"""Each change through API and command line is in the history of actions, with who made it."""

from __future__ import annotations

import os
import pwd
from typing import Any

from gearman_manager.access.caller import ROLES
from gearman_manager.access.users_file import make_user, write_user
from gearman_manager.command.control_client import request

from .conftest import RunningManager
from .test_access import FULL, READ, Site, bearer, csrf_of

ROOT = f"uid {os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"


def actions(manager: RunningManager, query: str = "") -> list[dict[str, Any]]:
    page: dict[str, Any] = request(manager.folder / "run" / "control.sock", "GET", f"/actions{query}")
    return list(page["actions"])


def test_changes_by_command_token_and_user_are_noted_and_outlive_the_manager(napping: RunningManager) -> None:
    for name, token in (("full", FULL), ("read", READ)):
        (napping.folder / name).write_text(token)
    write_user(napping.folder / "users", make_user("alice", ROLES["operator"], "correct horse"))
    keys = "listen: 127.0.0.1:0, token_file: full, read_token_file: read, users_file: users"
    napping.start(f"pools: {{nap: {{functions: [nap], min: 1, max: 1}}}}\ncontrol: {{{keys}}}\n")
    site = Site(napping)
    napping.command("scale", "nap", "1..2")
    napping.command("pause", "nobody", check=False)
    site.ask("POST", "/api/v1/jobs/cancel", bearer(FULL), '{"handles": ["H:a:1", "H:a:2"]}')
    site.ask("POST", "/api/v1/dead/retry", bearer(READ), '{"all": true}')
    session = site.session("alice", "correct horse")
    session["X-CSRF-Token"] = csrf_of(site, session)
    site.ask("POST", "/api/v1/pools/nap/pause", session)
    site.log_in("alice", "wrong")
    site.ask("POST", "/api/v1/stop")
    site.ask("POST", "/api/v1/nowhere", bearer(FULL))
    noted = actions(napping)
    shown = [(row["who"], row["role"], row["what"], row["target"], row["details"], row["status"]) for row in noted]
    assert shown == [
        ("user alice", "operator", "pools pause", "nap", "", 202),
        ("user alice", "operator", "login", "", "", 303),
        ("token read-only", "viewer", "dead retry", "", '{"all": true}', 403),
        ("token full", "admin", "jobs cancel", "H:a:1 H:a:2", '{"handles": ["H:a:1", "H:a:2"]}', 200),
        (ROOT, "admin", "pools pause", "nobody", "", 404),
        (ROOT, "admin", "pools scale", "nap", '{"min": 1, "max": 2}', 202),
    ]
    assert [row["address"] for row in noted] == ["127.0.0.1"] * 4 + ["the control socket"] * 2
    assert noted[2]["outcome"].startswith("the role operator is needed for this")
    assert noted[3]["outcome"] == '{"cancelled":0}'
    log = napping.log()
    assert f"{ROOT} from the control socket: pools scale nap" in log
    assert "user alice from 127.0.0.1: pools pause nap" in log
    assert "correct horse" not in log
    socket = napping.folder / "run" / "control.sock"
    page = request(socket, "GET", "/actions?limit=4")
    assert len(request(socket, "GET", f"/actions?limit=4&cursor={page['next']}")["actions"]) == 2
    assert [row["what"] for row in actions(napping, "?who=token%20full")] == ["jobs cancel"]
    assert napping.stop() == 0
    napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    assert [row["what"] for row in actions(napping)] == [row["what"] for row in noted]


def test_a_stop_is_the_last_action(napping: RunningManager) -> None:
    napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    napping.command("stop")
    napping.start("pools: {nap: {functions: [nap], min: 1, max: 1}}\n")
    assert [(row["who"], row["what"]) for row in actions(napping)] == [(ROOT, "stop")]
