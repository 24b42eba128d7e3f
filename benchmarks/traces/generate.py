"""Writes the sample traces beside this file, always the same ones: `python benchmarks/traces/generate.py`.

Four shapes of load that a scaler meets: a constant load, everything at once, a wave of day and night (a day in ten
minutes), and short sudden spikes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

SEED: Final = 20261121
Job = tuple[float, float]  # arrival and service time in seconds


def poisson(rate: Callable[[float], float], top_rate: float, seconds: float, dice: random.Random) -> Iterator[float]:
    """Random arrivals with a rate that changes over time, made by thinning arrivals of the highest rate."""
    now = dice.expovariate(top_rate)
    while now < seconds:
        if dice.random() * top_rate < rate(now):
            yield now
        now += dice.expovariate(top_rate)


def steady(dice: random.Random) -> Iterator[Job]:
    """Four jobs a second for ten minutes, half a second each on average: work for two workers."""
    for arrival_s in poisson(lambda _: 4.0, 4.0, 600.0, dice):
        yield arrival_s, dice.lognormvariate(math.log(0.45), 0.45)


def burst(dice: random.Random) -> Iterator[Job]:
    """Now and then a single job, and twice 400 jobs within a second."""
    for arrival_s in poisson(lambda _: 0.2, 0.2, 240.0, dice):
        yield arrival_s, dice.uniform(0.1, 0.3)
    for start_s in (30.0, 150.0):
        for _ in range(400):
            yield start_s + dice.random(), dice.uniform(0.1, 0.3)


def daily_wave(dice: random.Random) -> Iterator[Job]:
    """From almost no jobs at night to twelve jobs a second at noon, 0.6 s each: work for seven workers."""
    for arrival_s in poisson(lambda now: 6.05 - 5.95 * math.cos(2 * math.pi * now / 600), 12.0, 600.0, dice):
        yield arrival_s, dice.lognormvariate(math.log(0.55), 0.4)


def spiky(dice: random.Random) -> Iterator[Job]:
    """A spike of thirty jobs about every forty seconds, some of which take ten seconds, and little between."""
    for arrival_s in poisson(lambda _: 0.3, 0.3, 480.0, dice):
        yield arrival_s, dice.uniform(0.2, 0.8)
    for start_s in poisson(lambda _: 1 / 40, 1 / 40, 470.0, dice):
        for _ in range(dice.randint(15, 45)):
            yield start_s + dice.uniform(0, 0.5), 10.0 if dice.random() < 0.05 else dice.uniform(0.3, 1.5)


def main() -> None:
    """Write all traces."""
    for trace in (steady, burst, daily_wave, spiky):
        rows = sorted(trace(random.Random(f"{SEED} {trace.__name__}")))
        lines = ["arrival_s,service_s", *(f"{arrival_s:.3f},{service_s:.3f}" for arrival_s, service_s in rows)]
        (Path(__file__).parent / f"{trace.__name__}.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
