"""The values under `settings:` in the forms in which the YAML file and environment variables give them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Load = Callable[[str], ModuleType]


@pytest.fixture
def settings(load: Load) -> ModuleType:
    return load("_settings")


@pytest.mark.parametrize(("value", "seconds"), [("30s", 30), ("500ms", 0.5), ("2m", 120), (7, 7), (1.5, 1.5), ("8", 8)])
def test_a_duration_has_a_unit_or_is_in_seconds(settings: ModuleType, value: Any, seconds: float) -> None:
    assert settings.duration_s({"wait": value}, "wait", 1) == seconds


@pytest.mark.parametrize("value", ["soon", "5 parsecs", -1, 0, "0s", True, None, float("inf"), float("nan"), "1e3", []])
def test_the_message_for_an_invalid_duration_names_the_setting(settings: ModuleType, value: Any) -> None:
    with pytest.raises(settings.SettingsError, match="wait: a duration such as 30s is needed"):
        settings.duration_s({"wait": value}, "wait", 1)


@pytest.mark.parametrize(("value", "size"), [("5MB", 5_000_000), ("1GiB", 2**30), (100, 100), ("64KiB", 65536)])
def test_a_size_has_a_unit_or_is_in_bytes(settings: ModuleType, value: Any, size: int) -> None:
    assert settings.size_bytes({"max_size": value}, "max_size", 1) == size


@pytest.mark.parametrize("value", [0, 65536, "x", "", True, 2.5, None, "-1", "٣"])
def test_a_whole_number_outside_its_range_is_refused(settings: ModuleType, value: Any) -> None:
    with pytest.raises(settings.SettingsError, match="smtp_port: a whole number from 1 to 65535"):
        settings.whole_number({"smtp_port": value}, "smtp_port", 25, 1, 65535)


def test_a_whole_number_may_come_from_a_variable_as_text(settings: ModuleType) -> None:
    assert settings.whole_number({"smtp_port": "2525"}, "smtp_port", 25, 1, 65535) == 2525


def test_an_empty_text_is_none(settings: ModuleType) -> None:
    assert settings.text({"smtp_user": ""}, "smtp_user", None) is None


def test_a_text_that_is_a_list_is_refused(settings: ModuleType) -> None:
    with pytest.raises(settings.SettingsError, match="smtp_user: a text is needed"):
        settings.text({"smtp_user": ["a"]}, "smtp_user", None)
