"""The fixtures for pytest, which finds them by the entry point `gearman`. The only module that imports pytest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gearman_client.testing.eager_server import EagerServer
    from gearman_client.testing.real_server import RealServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """The setting for the real server."""
    parser.addini("gearman_workers", "folders with worker modules, for the fixture gearman_real", "args")


@pytest.fixture
def gearman_eager() -> Iterator[EagerServer]:
    """A job server in this process, an `EagerServer`: every client of the test submits its jobs to it."""
    from gearman_client.testing.eager_server import EagerServer

    with EagerServer() as server:
        yield server


@pytest.fixture(scope="session")
def gearman_real_config(pytestconfig: pytest.Config) -> dict[str, Any]:
    """The manager's configuration for `gearman_real`; override it for pools, functions and more."""
    folders = pytestconfig.getini("gearman_workers")
    if not folders:
        pytest.fail(
            "gearman_real does not know your worker modules: set `gearman_workers = FOLDER` in pytest's configuration, "
            "or override the fixture gearman_real_config",
            pytrace=False,
        )
    return {"workers_dir": list(folders)}


@pytest.fixture(scope="session")
def gearman_real(pytestconfig: pytest.Config, gearman_real_config: dict[str, Any]) -> Iterator[RealServer]:
    """A gearman-manager with job server and workers for the whole session, a `RealServer`; needs gearman-manager.

    GEARMAN_SERVERS names the job server meanwhile, so that clients without an address find it.
    """
    from gearman_client.testing.real_server import RealServer, RealServerError

    server = RealServer(gearman_real_config, base=pytestconfig.rootpath)
    trouble = ""
    try:
        server.start()
    except RealServerError as error:
        trouble = str(error)
    if trouble:
        pytest.fail(trouble, pytrace=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEARMAN_SERVERS", server.address)
        yield server
    server.stop()
