"""Rules that come later hold for what was kept before, too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gearman_manager.finished.keeper import Keeper
from gearman_manager.finished.private_attempts import shown_attempt
from gearman_manager.finished.search import Wanted
from gearman_manager.privacy import Privacy
from gearman_manager.privacy.function_privacy import FunctionPrivacy

from .conftest import SERVER, attempt


def _private(key: str) -> Privacy:
    privacy = Privacy()
    privacy.use({}, FunctionPrivacy((key,)))
    return privacy


def test_a_row_is_shown_by_the_rules_of_now(keeper: Keeper) -> None:
    open_one = attempt(1, function="open", workload="open")
    secret = attempt(2, function="secret", workload="hush", result="hush", error="it was hush", tags=("a",))
    keeper.keep([open_one, secret], SERVER, "r1.2")
    assert [row["workload"] for row in keeper.page(Wanted(), 10, None)] == ["hush", "open"]
    keeper.privacy.use({"secret": FunctionPrivacy(shows_workloads=False)}, FunctionPrivacy())
    listed, open_row = keeper.page(Wanted(), 10, None)
    assert [(row["workload"], row["workload_bytes"]) for row in (listed, open_row)] == [("", 1), ("open", 1)]
    assert [row["is_whole"] for row in (listed, open_row)] == [False, True]
    # What was kept under them is not whole even if the marks are as long as what they stand for, and the rules go.
    kept = shown_attempt(replace(secret, workload='{"key": "0123456789"}'), _private("key"))
    assert (kept.workload, kept.is_whole) == ('{"key": "[redacted]"}', False)
    [whole] = keeper.attempts_of(secret.handle)
    assert (whole["workload"], whole["result"], whole["tags"]) == ("", "", ["a"])


@pytest.mark.parametrize("rules", [FunctionPrivacy(("password",)), FunctionPrivacy(shows_workloads=False)])
def test_a_list_and_a_search_know_what_is_private_as_well_as_the_page_of_the_job(
    keeper: Keeper, rules: FunctionPrivacy
) -> None:
    workload = f'{{"comment": "{"x" * 80}", "password": "s3cret-99"}}'
    error = f"LoginError: {'y' * 290} s3cret-99"
    keeper.keep(
        [attempt(1, function="login", workload=workload, error=error), attempt(2, error="s3cret-99 is open")],
        SERVER,
        "r1.2",
    )
    assert len(keeper.page(Wanted(text="S3CRET-99"), 10, None)) == 2
    keeper.privacy.use({"login": rules}, FunctionPrivacy())
    [_, row] = keeper.page(Wanted(), 10, None)
    assert "s3cr" not in row["error"]
    assert (len(row["error"]), row["workload"]) == (300, workload[:80] if rules.shows_workloads else "")
    for text, found in (("s3cret-9", [2]), ("S3CRET-99", [2]), ("loginerror", [1])):
        assert [each["number"] for each in keeper.page(Wanted(text=text), 10, None)] == found
