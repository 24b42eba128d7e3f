"""A message in words, and as data. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from gearman_manager.alerts.board import Digest
from gearman_manager.alerts.message import Message
from gearman_manager.alerts.rules import Finding
from gearman_process.values.escaping import escape_line

#: Troubles that a message tells in full; of the others it gives the number.
MOST_TOLD: Final = 50
_LONGEST_ERROR: Final = 1000
_LONGEST_SUBJECT: Final = 150


def compose(digest: Digest, manager: str, offset: float) -> Message:
    """The message. `manager` says which one it is; `offset` makes Unix seconds of monotonic ones."""
    alerts = [
        *(_alert("new", finding, offset) for finding in digest.new),
        *(_alert("lasting", finding, offset) for finding in digest.lasting),
        *(_alert("solved", solved.finding, offset, solved.at) for solved in digest.solved),
    ]
    subject = _subject(digest, manager)
    told = alerts[:MOST_TOLD]
    parts = [subject, *(_paragraph(alert) for alert in told)]
    if len(alerts) > MOST_TOLD:
        parts.append(f"… and {len(alerts) - MOST_TOLD} more: gearman-manager status")
    text = "\n\n".join(parts) + "\n"
    data = {"subject": subject, "text": text, "manager": manager, "count": len(alerts), "alerts": told}
    return Message(subject, text, data)


def trial(manager: str, unix_now: float) -> Message:
    """The message by which an operator tries the targets."""
    subject = f"{manager}: test of the alerts"
    text = f"{subject}\n\nThis was sent by `gearman-manager alerts test` at {_time(unix_now)}. Nothing is wrong.\n"
    return Message(subject, text, {"subject": subject, "text": text, "manager": manager, "count": 0, "alerts": []})


def _subject(digest: Digest, manager: str) -> str:
    names = [f"{f.kind} {f.name}: {f.rule}" for f in (*digest.new, *digest.lasting)]
    solved = len(digest.solved)
    parts = []
    if names:
        others = f" and {len(names) - 1} more" if names[1:] else ""
        parts.append(names[0] + others)
    if solved == 1 and not names:
        finding = digest.solved[0].finding
        parts.append(f"solved: {finding.kind} {finding.name}: {finding.rule}")
    elif solved:
        parts.append(f"{solved} solved")
    return escape_line(f"{manager}: {', '.join(parts)}")[:_LONGEST_SUBJECT]


def _alert(state: str, finding: Finding, offset: float, ended: float | None = None) -> dict[str, Any]:
    return {
        "state": state,
        "rule": finding.rule,
        "kind": finding.kind,
        "name": finding.name,
        "text": finding.text,
        "since": round(finding.since + offset, 3),
        "until": None if ended is None else round(ended + offset, 3),
        "last_error": finding.last_error[:_LONGEST_ERROR],
        "look": finding.look,
    }


def _paragraph(alert: dict[str, Any]) -> str:
    head = f"{alert['kind']} {alert['name']}: {alert['text']}"
    when = f"since {_time(alert['since'])}"
    if alert["state"] == "solved":
        head = f"SOLVED {head}"
        when = f"from {_time(alert['since'])} to {_time(alert['until'])}"
    elif alert["state"] == "lasting":
        head = f"STILL {head}"
    lines = [head, f"  {when} (rule {alert['rule']})"]
    if alert["last_error"]:
        lines.append(f"  last error: {alert['last_error']}")
    if alert["look"] and alert["state"] != "solved":
        lines.append(f"  see: {alert['look']}")
    return "\n".join(map(escape_line, lines))


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
