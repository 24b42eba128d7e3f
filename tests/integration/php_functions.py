"""GearmanManager's PHP functions: the samples, and some that tests write."""

from __future__ import annotations

from pathlib import Path

SAMPLES = Path(__file__).parent / "gearmanmanager" / "workers"
#: Answers its worker.
WHO = "<?php\nfunction who($job) { return getmypid(); }\n"
#: Takes as many seconds as its workload says, and answers its worker.
NAP = """<?php
function nap($job) {
    $until = hrtime(true) + (float) $job->workload() * 1e9;
    while (hrtime(true) < $until) {
        usleep(10000);
    }
    return getmypid();
}
"""
