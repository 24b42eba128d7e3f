"""A window of a real manager: it opens and closes by the clock of its zone, with nothing else to wake the manager."""

from __future__ import annotations

import json
import math
import signal
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from .conftest import RunningManager, eventually

POOL = "functions: [nap], min: 1, max: 5, scale: {cooldown: 500ms}"


def write_zone(file: Path, offset_s: int) -> None:
    """A time zone whose clocks are ahead of UTC by so many seconds, so that a full minute comes when it is needed."""
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 5)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"TZif" + bytes(16) + counts + struct.pack(">lBB", offset_s, 0, 0) + b"SOON\0")


def test_a_window_opens_on_the_second_is_shown_and_closes_by_the_cooldown(napping: RunningManager) -> None:
    napping.environment = {"PYTHONTZPATH": str(napping.folder / "zones")}
    manager = napping.start(f"log: {{format: json}}\npools: {{nap: {{{POOL}}}}}\n")
    opens_at = math.ceil(time.time()) + 2
    offset_s = -opens_at % 60
    write_zone(manager.folder / "zones" / "Test" / "Soon", offset_s)
    start = datetime.fromtimestamp(opens_at + offset_s, UTC)
    cron = f"{start.minute} {start.hour} * * *"
    window = f"{{cron: '{cron}', for: 2s, min: 3, time_zone: Test/Soon}}"
    text = manager.config_file.read_text()
    manager.config_file.write_text(text.replace(POOL, f"{POOL}, windows: [{window}]"))
    assert manager.process is not None
    manager.process.send_signal(signal.SIGHUP)
    eventually(lambda: manager.status()["pools"]["nap"]["windows"], "the window is known")
    known_at = time.time()
    eventually(lambda: len(manager.workers("nap")) == 3, "it opens")
    report = manager.status()["pools"]["nap"]
    assert (report["min"], report["windows"][0]["until"]) == (3, opens_at + 2)
    assert report["bounds"] == f"min 3 until {start:%H:%M}:02 (window {cron} Test/Soon)"
    eventually(lambda: manager.status()["pools"]["nap"]["target"] == 1, "it closes")
    changes = {line["message"].partition(":")[0]: line for line in map(json.loads, manager.log().splitlines())}
    opened = datetime.fromisoformat(changes["1 → 3 workers"]["time"]).timestamp()
    closed = datetime.fromisoformat(changes["3 → 1 workers"]["time"]).timestamp()
    assert opened >= opens_at, manager.log()
    assert opened - max(opens_at, known_at) < 1, manager.log()
    assert 0.45 <= closed - (opens_at + 2) < 1.5, manager.log()
