"""Rows of the job servers as they are shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from gearman_manager.control import turns
from gearman_manager.control.server_jobs import shown_rows
from gearman_manager.privacy import MARK, FunctionPrivacy, Privacy


def test_others_have_their_turn_between_the_rows_of_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0.0)
    privacy = Privacy()
    privacy.use({}, FunctionPrivacy(("password",)))
    seen: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(3):
            gevent.spawn(seen.append, number)
            yield {"function": "f", "preview": "password=x", "error": f"{seen}"}

    shown = shown_rows(rows(), privacy)
    assert [row["preview"] for row in shown] == [f"password={MARK}"] * 3
    assert [row["error"] for row in shown] == ["[]", "[0]", "[0, 1]"]
