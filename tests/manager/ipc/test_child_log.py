"""The log of a child process."""

from __future__ import annotations

import json
import subprocess
import sys

from gearman_manager.ipc.child_log import RECORD_MARK

FEW_DESCRIPTORS = """
import logging, resource
from gearman_manager.ipc import child_log
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
child_log.set_up("INFO")
logging.warning("it works")
"""


def test_a_process_that_may_have_few_descriptors_logs_as_any_other() -> None:
    program = subprocess.run([sys.executable, "-c", FEW_DESCRIPTORS], capture_output=True, text=True, check=True)
    record = json.loads(program.stderr.removeprefix(RECORD_MARK))
    assert (record["level"], record["message"]) == ("WARNING", "it works")


LIBRARY = """
import logging
from gearman_manager.ipc import child_log

child_log.set_up("INFO")
try:
    raise ValueError("private")
except ValueError:
    try:
        "\\udcff".encode()
    except UnicodeError:
        logging.getLogger("opentelemetry.exporter").exception("Failed to encode %s", "key")
"""


def test_a_library_that_fails_beside_an_error_does_not_tell_of_it() -> None:
    program = subprocess.run([sys.executable, "-c", LIBRARY], capture_output=True, text=True, check=True)
    assert (
        json.loads(program.stderr.removeprefix(RECORD_MARK))["message"] == "Failed to encode key (UnicodeEncodeError)"
    )
