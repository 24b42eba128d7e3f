"""Why each pool has as many workers as it has, for the status report and for `explain`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gearman_manager.control.operator_changes import find_pool
from gearman_manager.pools.workforce import Workforce
from gearman_manager.scaling.autoscaler import Autoscaler
from gearman_manager.scaling.clock import epoch, time_of_day
from gearman_manager.scaling.decision import Decision, Step
from gearman_manager.scaling.recent_decisions import RepeatedDecision

Report = dict[str, Any]


class Explanations:
    """Makes reports of the scaler's decisions. Times are seconds since 1970, those in sentences local times of day."""

    def __init__(self, workforce: Workforce, autoscaler: Autoscaler) -> None:
        self._workforce = workforce
        self._autoscaler = autoscaler

    def why(self, pool: str) -> str:
        """The sentence of the decision that holds; empty before the first one, and for a pool that is being removed."""
        decision = self._autoscaler.decisions(pool).last
        return "" if decision is None else decision.sentence(time_of_day)

    def report(self, pool: str) -> Report:
        """The decision that holds now with the last numbers, and the last decisions as they were made, oldest first.

        Raises:
            ManagerError: there is no such pool.
        """
        decisions = self._autoscaler.decisions(find_pool(self._workforce, pool).name)
        return {
            "pool": pool,
            "now": None if decisions.last is None else _decision(decisions.last),
            "decisions": [_repeated(entry, entry.last is decisions.last) for entry in decisions.entries],
        }


def _repeated(entry: RepeatedDecision, holds: bool) -> Report:
    until = None if holds else round(epoch(entry.until), 3)
    return {"since": round(epoch(entry.first.at), 3), "until": until, "times": entry.times} | _decision(entry.first)


def _decision(decision: Decision) -> Report:
    return {
        "at": round(epoch(decision.at), 3),
        "sentence": decision.sentence(time_of_day),
        "wanted": decision.wanted,
        "rule": decision.rule,
        "late": decision.is_late,
        "size": decision.size,
        "limit": decision.binding.limit.name if decision.binding else None,
        "steps": [_step(step) for step in decision.steps],
        "inputs": asdict(decision.inputs),
    }


def _step(step: Step) -> Report:
    limit = step.limit
    return {
        "limit": limit.name,
        "text": str(limit),
        "size": step.size,
        "since": None if step.since is None else round(epoch(step.since), 3),
        "until": None if limit.until is None else round(epoch(limit.until), 3),
    }
