"""The sample configurations: each loads unchanged, without a key that has no effect, and runs the sample functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from gearman_manager.config import FoundFunction, lay_out, load

ROOT = Path(__file__).parents[3]
SAMPLES = sorted((ROOT / "config").glob("*.yaml"))
FUNCTIONS = (
    "fetch_url",
    "newsletter",
    "reverse",
    "send_email",
    "slow_reverse",
    "text_totals",
    "thumbnail",
    "word_count",
)
FOUND = [FoundFunction(name, f"workers/{name}.py", 1) for name in FUNCTIONS]


def test_there_are_samples() -> None:
    assert {"config.yaml", "minimal.yaml"} <= {path.name for path in SAMPLES}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_each_sample_loads_without_any_variable_and_runs_every_function(path: Path) -> None:
    config = load(path, {})
    layout = lay_out(config, FOUND, cores=2)
    assert layout.problems == ()
    assert tuple(layout.functions) == FUNCTIONS
    assert str(config.own_addresses[0]) == "127.0.0.1:4730"
    assert config.workers_dir == (str(ROOT / "workers"),)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_variable_is_enough_for_another_port(path: Path) -> None:
    assert str(load(path, {"GEARMAN_PORT": "4731"}).own_addresses[0]) == "127.0.0.1:4731"


def test_the_sample_scales_mails_and_thumbnails_and_takes_the_mail_server_from_the_environment() -> None:
    config = load(ROOT / "config" / "config.yaml", {"SMTP_HOST": "mail.example.com", "SMTP_PORT": "2525"})
    layout = lay_out(config, FOUND, cores=3)
    email, thumbnail = layout.pools["email"], layout.pools["thumbnail"]
    assert (email.functions, email.min, email.max) == (("send_email",), 1, 20)
    assert (thumbnail.functions, thumbnail.min, thumbnail.max) == (("thumbnail",), 1, 6)
    settings = layout.functions["send_email"].settings
    assert (settings["smtp_host"], settings["smtp_port"]) == ("mail.example.com", 2525)


def test_the_minimal_sample_is_five_lines() -> None:
    assert len((ROOT / "config" / "minimal.yaml").read_text().splitlines()) == 5
