"""Rules that come later hold for what was kept before, too."""

from __future__ import annotations

from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.private_attempts import shown_row
from gearman_manager.finished.search import Wanted
from gearman_manager.privacy import Privacy
from gearman_manager.privacy.function_privacy import FunctionPrivacy

from .conftest import SERVER, attempt


def test_a_row_is_shown_by_the_rules_of_now(keeper: Keeper) -> None:
    privacy = Privacy()
    keeper.show = lambda row: shown_row(row, privacy)
    open_one = attempt(1, function="open", workload="open")
    secret = attempt(2, function="secret", workload="hush", result="hush", error="it was hush", tags=("a",))
    keeper.keep([open_one, secret], SERVER, "r1.2")
    assert [row["workload"] for row in keeper.page(Wanted(), 10, None)] == ["hush", "open"]
    privacy.use({"secret": FunctionPrivacy(shows_workloads=False)}, FunctionPrivacy())
    listed, open_row = keeper.page(Wanted(), 10, None)
    assert [(row["workload"], row["workload_bytes"]) for row in (listed, open_row)] == [("", 1), ("open", 1)]
    [whole] = keeper.attempts_of(secret.handle)
    assert (whole["workload"], whole["result"], whole["tags"]) == ("", "", ["a"])
