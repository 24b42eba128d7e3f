"""What the section `otel` needs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from gearman_manager.config import Config, ConfigError
from gearman_manager.telemetry.headers import read_headers
from gearman_manager.telemetry.requirements import check_telemetry


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    check_telemetry(Config.model_validate({"server": {}}))
    with pytest.raises(ConfigError, match=r"pip install 'gearman-manager\[otel\]'"):
        check_telemetry(Config.model_validate({"server": {}, "otel": {}}))


def test_headers_are_read_and_what_is_none_is_refused_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# a comment\n\nAuthorization:  Bearer a:b \nX-Scope: 1\n")
    assert read_headers(str(file)) == {"authorization": "Bearer a:b", "x-scope": "1"}
    for text in ("s3cret\n", "a b: s3cret\n", "a: s3cret\x00\n", ": s3cret\n"):
        file.write_text(text)
        with pytest.raises(ValueError, match="line 1 is no header") as caught:
            read_headers(str(file))
        assert "s3cret" not in str(caught.value)
