"""The control API keeps to its OpenAPI document: a running manager is asked by requests that are made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode

from gearman_manager.command.control_client import request

from .conftest import NAP, RunningManager

TOKEN = "0123456789abcdef"
#: What has no end itself, or ends the manager, its workers or its job server has tests of its own.
ENDING = ["/events", "/stop", "/drain", "/restart", "/restart-server", "/reload"]
FEW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A manager with one pool, jobs of each state, and a schedule, whose API is on a TCP address."""
    manager = RunningManager(tmp_path_factory.mktemp("api"))
    manager.write_module("nap.py", NAP)
    try:
        manager.start(
            "pools: {nap: {functions: [nap], max: 1}}\n"
            "schedules: {daily: {cron: '0 4 * * *', function: nap}}\n"
            f"control: {{listen: 127.0.0.1:0, token: {TOKEN}}}\n"
        )
        with manager.client() as client:
            client.submit_background("nap", b"600")
            for _ in range(3):
                client.submit_background("waits", b"x", unique="\u2192 a")
            client.batch(id="some")
        yield manager
    finally:
        manager.destroy()


@pytest.fixture(scope="module")
def document(manager: RunningManager) -> dict[str, Any]:
    """Its OpenAPI document."""
    document: dict[str, Any] = request(manager.folder / "run" / "control.sock", "GET", "/openapi.json")
    return document


@pytest.fixture(scope="module")
def operations(manager: RunningManager, document: dict[str, Any]) -> list[Any]:
    """What the API can do, as schemathesis sees it."""
    found = re.search(r"control API on 127.0.0.1:(\d+) too", manager.log())
    assert found is not None
    for operation in (each for path in document["paths"].values() for each in path.values()):
        # Nothing made up is a cursor, and what is followed has no end.
        given = operation.get("parameters", [])
        operation["parameters"] = [each for each in given if each["name"] not in ("follow", "cursor")]
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{found[1]}{document['servers'][0]['url']}")
    found_operations: Any = schema.exclude(path=ENDING).get_all_operations()
    return [each.ok() for each in found_operations]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
def test_answers_are_as_the_document_says(operations: list[Any], mode: GenerationMode) -> None:
    with requests.Session() as session:
        for operation in operations:
            if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
                continue  # nothing in it can be wrong

            @FEW
            @given(case=operation.as_strategy(generation_mode=mode))
            def check(case: Any) -> None:
                case.call_and_validate(session=session, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)

            check()


def test_the_document_is_one_of_openapi_3_1_and_has_every_route(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0"
    assert {"/status", "/pools/{name}/scale", "/jobs/batches/stop", "/dead/retry"} <= set(document["paths"])
    assert set(document["paths"]) >= set(ENDING)
