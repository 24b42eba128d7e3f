"""The questions to job servers: page by page, within bounds, and seldom."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gevent

from gearman_manager.alerts import server_questions
from gearman_manager.alerts.server_questions import ServerQuestions

DEADLINE_S = 30.0
Pages = dict[str, list[list[dict[str, Any]]]]


class Servers:
    """Job servers that answer from pages; `asked` has the questions."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.questions = ServerQuestions(self.page, lambda: list(pages))

    def page(self, family: str, conditions: Mapping[str, str]) -> dict[str, Any]:
        self.asked.append((family, dict(conditions)))
        names = list(self.pages)
        server, at = conditions.get("server", names[0]), int(conditions.get("after", 0))
        following: dict[str, str] | None = {"server": server, "after": str(at + 1)}
        if at + 1 == len(self.pages[server]):
            others = names[names.index(server) + 1 :]
            following = {"server": others[0]} if others else None
        return {"jobs": self.pages[server][at], "next": following}

    def ask(self, *functions: str, wants_letters: bool = False) -> None:
        """Ask, and wait for the answers."""
        before = len(self.asked)
        self.questions.ask(time.monotonic(), functions, wants_letters=wants_letters)
        with gevent.Timeout(DEADLINE_S, AssertionError("nobody was asked")):
            while len(self.asked) == before or not self.questions._asking.dead:
                gevent.sleep(0.001)


def job(handle: str, for_s: float) -> dict[str, Any]:
    return {"handle": handle, "for_s": for_s}


def letter(handle: str, age_s: float) -> dict[str, Any]:
    return {"handle": handle, "function": "mail", "died": time.time() - age_s, "error": "no"}


def test_the_oldest_job_of_all_servers_is_found_behind_jobs_of_other_functions() -> None:
    servers = Servers({"a:1": [[], [], [job("H:a:1", 50.0), job("H:a:2", 70.0)]], "b:1": [[job("H:b:1", 60.0)]]})
    servers.ask("mail")
    since, handle = servers.questions.oldest["mail"]
    assert handle == "H:a:2"
    assert 70.0 <= time.monotonic() - since < 70.0 + DEADLINE_S


def test_the_search_for_it_ends() -> None:
    servers = Servers({"a:1": [[] for _ in range(1000)]})
    servers.ask("mail")
    assert servers.questions.oldest == {}
    assert len(servers.asked) <= 20


def test_recent_letters_of_all_servers_are_found_page_by_page() -> None:
    servers = Servers({"a:1": [[letter("H:a:1", 4000)], [letter("H:a:2", 30)]], "b:1": [[letter("H:b:1", 20)]]})
    servers.ask(wants_letters=True)
    assert [each.handle for each in servers.questions.letters] == ["H:a:2", "H:b:1"]


def test_nobody_is_asked_again_at_once_nor_without_a_question() -> None:
    servers = Servers({"a:1": [[job("H:a:1", 50.0)]]})
    now = time.monotonic()
    servers.questions.ask(now, (), wants_letters=False)
    servers.ask("mail")
    servers.questions.ask(time.monotonic(), ("mail",), wants_letters=True)
    gevent.sleep(0)
    assert len(servers.asked) == 1
    servers.questions.ask(now + 2 * server_questions.EVERY_S, ("mail",), wants_letters=False)
    with gevent.Timeout(DEADLINE_S):
        while len(servers.asked) < 2:
            gevent.sleep(0.001)
