"""What `import gearman_client` loads: a web application that submits jobs pays for nothing else."""

from __future__ import annotations

import subprocess
import sys

import gearman_client

PROGRAM = """
import sys
before = set(sys.modules)
from gearman_client import Client
client = Client("127.0.0.1:1")
print(*sorted(set(sys.modules) - before))
"""

#: The program runs without `site`, whose hooks load modules of their own.
PATHS = f"import sys; sys.path[:] = {sys.path!r}\n"


def test_a_client_loads_no_module_that_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", PATHS + PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert "gearman_client.client.client" in loaded
    unwanted = {"asyncio", "ssl", "concurrent.futures", "json", "logging", "subprocess", "argparse", "unittest"}
    rooms = {"worker", "admin", "async_client", "task_sets", "tasks", "typed_json", "commands", "testing"}
    assert not loaded & unwanted
    assert not [name for name in loaded if name.split(".")[:2] in [["gearman_client", room] for room in rooms]]


def test_every_public_name_is_there() -> None:
    assert set(gearman_client.__all__) <= set(dir(gearman_client))
    for name in gearman_client.__all__:
        assert getattr(gearman_client, name) is not None
