"""What managers tell each other of themselves, in few words; a peer's are checked, and cut. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

Summary = Mapping[str, Any]

#: Of the texts and the lists of a peer.
MOST_CHARACTERS: Final = 500
MOST_TROUBLES: Final = 20
MOST_SERVERS: Final = 100
_MOST: Final = 10**15
_COUNTS: Final = ("pools", "workers", "busy", "queued", "running")


def summary_of(overview: Mapping[str, Any], version: str, facts: Mapping[str, Mapping[str, Any]]) -> Summary:
    """The summary of the manager whose overview this is; `facts` tells of its job servers, by address."""
    pools = overview["pools"]
    return {
        "name": overview["manager"]["name"],
        "pid": overview["manager"]["pid"],
        "since": overview["manager"]["since"],
        "version": version,
        "well": overview["well"],
        "text": overview["text"],
        "troubles": [_trouble(trouble) for trouble in overview["troubles"][:MOST_TROUBLES]],
        "pools": len(pools),
        "workers": sum(len(pool["workers"]) for pool in pools),
        **{name: sum(pool[name] for pool in pools) for name in ("busy", "queued", "running")},
        "servers": [
            {
                "address": server["address"],
                "up": server["up"],
                "trouble": server["trouble"],
                "version": facts.get(server["address"], {}).get("version"),
                "store": facts.get(server["address"], {}).get("store"),
                "connections": facts.get(server["address"], {}).get("connections"),
            }
            for server in overview["servers"][:MOST_SERVERS]
        ],
    }


def _trouble(told: Mapping[str, str]) -> str:
    """One trouble of an overview, in a sentence."""
    return f"{told['kind']} {told['subject']}: {told['text']}" if told["subject"] else told["text"]


def read_summary(data: bytes) -> Summary:
    """The summary in a peer's answer.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    try:
        told = json.loads(data)
    except RecursionError:
        raise ValueError("it is too deep") from None
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    return {
        **{name: _text(told, name) for name in ("name", "version", "text")},
        "pid": _count(told, "pid"),
        "since": _number(told, "since"),
        "well": _flag(told, "well"),
        "troubles": [_cut(text) for text in _list(told, "troubles")[:MOST_TROUBLES]],
        **{name: _count(told, name) for name in _COUNTS},
        "servers": [_server(server) for server in _list(told, "servers")[:MOST_SERVERS]],
    }


def _server(told: object) -> Summary:
    if not isinstance(told, dict):
        raise ValueError("a server in it is no object")
    return {
        "address": _text(told, "address"),
        "up": _maybe(told, "up", _flag),
        "trouble": _maybe(told, "trouble", _text),
        "version": _maybe(told, "version", _text),
        "store": _maybe(told, "store", _text),
        "connections": _maybe(told, "connections", _count),
    }


def _maybe(told: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], Any]) -> Any:
    return None if told.get(name) is None else read(told, name)


def _text(told: Mapping[str, Any], name: str) -> str:
    return _cut(told.get(name), name)


def _cut(value: object, name: str = "troubles") -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + "…"


def _list(told: Mapping[str, Any], name: str) -> list[Any]:
    value = told.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _flag(told: Mapping[str, Any], name: str) -> bool:
    value = told.get(name)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value


def _number(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise ValueError(f"{name} is no number from 0 up")
    return value


def _count(told: Mapping[str, Any], name: str) -> int:
    value = _number(told, name)
    if not isinstance(value, int):
        raise ValueError(f"{name} is no whole number")
    return value
