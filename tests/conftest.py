"""For all tests: with CI=true a skipped test fails, because everything that the tests need can be installed there."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest

from .certificates import Certificates

# The pure core, for the tests' processes too, unless they are run with the compiled one. It is chosen at this import.
os.environ.setdefault("GEARMAN_COMPILED", "0")
CHOICE = importlib.import_module("gearman_server.compiled.choosing").CHOICE

# A shell starts background processes with SIGINT ignored, and the processes that the tests interrupt would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Hundreds of processes start in the tests. Without bytecode files each compiles all its modules, and takes 1.2 s of the
# processor instead of 0.3; and every tester rewrites the assertions of all test files once more, for 10 s.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if CHOICE.trouble is not None:
    raise pytest.UsageError(CHOICE.trouble)

SKIPPING_FAILS = os.environ.get("CI") == "true"


def _refuse_skip(report: Any) -> None:
    if SKIPPING_FAILS and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and where CI=true nothing may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself, or that a mark or a fixture skips."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that is skipped as a whole."""
    report = yield
    _refuse_skip(report)
    return report


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def _environment_stays() -> Generator[None]:
    """A variable that a test leaves behind would reach the processes of all tests after it."""
    before = _environment()
    yield
    after = _environment()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    for name in changed:
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]
    assert not changed, "the test has left environment variables changed"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Fresh certificates; the CA has signed the server's and the client's."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def pytest_collection_finish() -> None:
    """What a tester has by now stays until its end: to go through all of it takes a collection 0.2 s, and tests that
    look for what nobody has collected make hundreds."""
    gc.collect()
    gc.freeze()
