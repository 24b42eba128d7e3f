"""The values in a policies file: each function checks and converts one kind, and its error says what is expected. Pure.

They are given the text of a scalar, or a list or mapping in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from gearman_client.job_pairs import MAX_KEY_BYTES, OPTION_NAMES
from gearman_process.errors import UnitMissing
from gearman_process.values.durations import parse_duration_s
from gearman_process.values.quoting import not_among, shown
from gearman_process.values.rates import parse_rate
from gearman_server.jobs.policies import DEFAULT_HOLD_S, BrakeRule, KeyPolicy, Rate

#: A key of more weight would leave the others next to nothing.
_MAX_WEIGHT: Final = 1000
#: So many keys with weights of their own.
_MAX_WEIGHTS: Final = 1000
_FLAGS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_BRAKE_KEYS: Final = ("failures", "hold", "probe")
_Read = TypeVar("_Read")


def duration_s(value: object) -> float:
    """`500ms`, `30s`, `5m`, `1h` or `7d`, in seconds."""
    try:
        return parse_duration_s(value)
    except UnitMissing as error:
        raise ValueError(f"a duration needs a unit: write {value}s, if seconds are meant") from error


def longer_than_nothing_s(value: object) -> float:
    """A duration above 0, in seconds."""
    seconds = duration_s(value)
    if seconds <= 0:
        raise ValueError("more than 0 is expected; to keep it as long as the others, leave the key out")
    return seconds


def whole(value: object) -> int:
    """A whole number from 0 up."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError(f"a whole number from 0 up is expected, not {shown(value)}")
    return int(value)


def rate(value: object) -> Rate | None:
    """`5/s` or `100/m`; `0` is no limit."""
    parsed = parse_rate(value)
    return Rate(*parsed) if parsed is not None else None


def option_names(value: object) -> frozenset[str]:
    """The options that a job may bring along, as a list of their names."""
    if not isinstance(value, list):
        raise ValueError(f"a list of options is expected, such as [retries, timeout], not {shown(value)}")
    for name in value:
        if name not in OPTION_NAMES:
            raise ValueError(not_among(name, OPTION_NAMES, "option of a job"))
    return frozenset(value)


def is_cluster(value: object) -> bool:
    """`server` or `cluster`, where unique keys hold: whether it is the latter."""
    if value not in ("server", "cluster"):
        raise ValueError(f"server or cluster is expected, not {shown(value)}")
    return value == "cluster"


def flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, str) or value.lower() not in _FLAGS:
        raise ValueError(f"true or false is expected, not {shown(value)}")
    return _FLAGS[value.lower()]


def per_key(value: object) -> KeyPolicy:
    """`{max_running: 5, rate: 100/m}`: limits for the jobs of one key."""
    readers: dict[str, Callable[[object], object]] = {"max_running": lambda value: whole(value) or None, "rate": rate}
    if not isinstance(value, dict):
        raise ValueError(f"a mapping such as {{max_running: 5, rate: 100/m}} is expected, not {shown(value)}")
    limits: dict[str, object] = {}
    for key, limit in value.items():
        if key not in readers:
            raise ValueError(f"{key}: unknown key. Allowed here: {', '.join(readers)}")
        try:
            limits[key] = readers[key](limit)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return KeyPolicy(**limits)  # type: ignore[arg-type]


def weights(value: object) -> Mapping[bytes, int]:
    """`{bulk: 1, transactional: 10}`: how many jobs a key may start in its turn."""
    if not isinstance(value, dict):
        raise ValueError(f"a mapping such as {{bulk: 1, transactional: 10}} is expected, not {shown(value)}")
    if len(value) > _MAX_WEIGHTS:
        raise ValueError(f"at most {_MAX_WEIGHTS} keys have a weight of their own")
    read: dict[bytes, int] = {}
    for key, weight in value.items():
        if len(key.encode()) > MAX_KEY_BYTES:
            raise ValueError(f"{shown(key)}: a key has at most {MAX_KEY_BYTES} bytes")
        if (
            not isinstance(weight, str)
            or not re.fullmatch(r"[0-9]{1,4}", weight)
            or not 1 <= int(weight) <= _MAX_WEIGHT
        ):
            raise ValueError(f"{shown(key)}: a whole number from 1 to {_MAX_WEIGHT} is expected, not {shown(weight)}")
        read[key.encode()] = int(weight)
    return MappingProxyType(read)


def brake(value: object) -> BrakeRule | None:
    """`{failures: 20/1m, hold: 30s, probe: 1}`; no failures (`0`) is no brake."""
    if not isinstance(value, dict):
        raise ValueError(f"a mapping such as {{failures: 20/1m, hold: 30s, probe: 1}} is expected, not {shown(value)}")
    unknown = [str(key) for key in value if key not in _BRAKE_KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown key. Allowed here: {', '.join(_BRAKE_KEYS)}")
    failures = _of_brake("failures", rate, value.get("failures"))
    hold_s = _of_brake("hold", duration_s, value.get("hold", f"{DEFAULT_HOLD_S:g}s"))
    probe = _of_brake("probe", whole, value.get("probe", "1"))
    if hold_s <= 0 or probe < 1:
        raise ValueError(f"{'hold' if hold_s <= 0 else 'probe'}: more than 0 is expected")
    return None if failures is None else BrakeRule(failures, hold_s, probe)


def _of_brake(key: str, read: Callable[[object], _Read], value: object) -> _Read:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def text(value: object) -> str:
    """Text as it is written."""
    if not isinstance(value, str):
        raise ValueError(f"text is expected, not {shown(value)}")
    return value
