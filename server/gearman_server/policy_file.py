"""Reads a policies file: YAML with a `functions:` mapping, by the same keys as in the manager's configuration.

All that is wrong with a file comes out at once, each by file, line and key. The rules themselves are in `policies`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gearman_server.errors import PolicyFileError
from gearman_server.policies import DEFAULT_BACKOFF_S, DEFAULT_MAX_BACKOFF_S, FunctionPolicy, PolicyFile, Rate

#: A file written by people is far smaller; a log or an image named by mistake is not.
MAX_FILE_BYTES: Final = 4 << 20

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_DURATION_S: Final = 3650 * 86400.0
_DURATION_HELP: Final = "a duration such as 500ms, 30s, 5m, 1h or 7d is expected"
#: The time of each of these starts is kept.
MAX_RATE_COUNT: Final = 100_000
_RATE_HELP: Final = (
    f"a rate from 1 to {MAX_RATE_COUNT} in a second, minute, hour or day, such as 5/s or 100/m, is expected"
)

#: What a key's value is before it is validated: the text of a scalar, or what stands there instead of one.
_Value: TypeAlias = str | list[object] | dict[str, object]


def _duration_s(value: object) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
    if match is not None:
        seconds = float(match[1]) * _MILLISECONDS[match[2]] / 1000
        if seconds > _MAX_DURATION_S:
            raise ValueError(f"{_shown(value)} is too long, at most 3650d is allowed")
        return seconds
    if isinstance(value, str) and re.fullmatch(r"0+(\.0*)?", value):  # only a zero is clear without a unit
        return 0.0
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        raise ValueError(f"a duration needs a unit: write {value}s, if seconds are meant")
    raise ValueError(f"{_DURATION_HELP}, not {_shown(value)}")


def _whole(value: object) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError(f"a whole number from 0 up is expected, not {_shown(value)}")
    return int(value)


def _rate(value: object) -> Rate | None:
    if value == "0":
        return None
    match = re.fullmatch(r"([0-9]{1,18})/(s|m|h|d)", value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[1]) <= MAX_RATE_COUNT:
        raise ValueError(f"{_RATE_HELP}, not {_shown(value)}")
    return Rate(int(match[1]), _MILLISECONDS[match[2]] / 1000)


class _FunctionKeys(BaseModel):
    """What can be written for a function."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: Annotated[float, BeforeValidator(_duration_s)] = 0.0
    retries: Annotated[int, BeforeValidator(_whole)] = 0
    crash_retries: Annotated[int | None, BeforeValidator(_whole)] = None
    backoff: Annotated[float, BeforeValidator(_duration_s)] = DEFAULT_BACKOFF_S
    max_backoff: Annotated[float, BeforeValidator(_duration_s)] = DEFAULT_MAX_BACKOFF_S
    keep_result: Annotated[float, BeforeValidator(_duration_s)] = 0.0
    max_queue: Annotated[int, BeforeValidator(_whole)] = 0
    max_running: Annotated[int, BeforeValidator(_whole)] = 0
    rate: Annotated[Rate | None, BeforeValidator(_rate)] = None
    settings: object = None  # of the worker's code, no concern of the server's


def read_policies(path: str) -> PolicyFile:
    """The policies in a file.

    Raises:
        PolicyFileError: with everything that is wrong with it.
    """
    reader = _Reader(path)
    policies = reader.policies(_composed(path))
    if reader.problems:
        raise PolicyFileError(reader.problems)
    return PolicyFile(path, policies)


def _composed(path: str) -> yaml.Node | None:
    """The file's nodes, which know their lines. Composing builds no objects, and expands no aliases."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as failure:
        raise PolicyFileError(
            [f"{path}: the file of --policies can't be read: {failure.strerror}; name another"]
        ) from failure
    if len(content) > MAX_FILE_BYTES:
        raise PolicyFileError([f"{path}: more than {MAX_FILE_BYTES >> 20} MiB: these are no policies"])
    try:
        return yaml.compose(content.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        raise PolicyFileError([f"{path}:{line}: the text is not UTF-8: save the file in this encoding"]) from failure
    except yaml.MarkedYAMLError as failure:
        mark = failure.problem_mark or failure.context_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else path
        raise PolicyFileError([f"{where}: not valid YAML: {failure.problem or failure.context}"]) from failure
    except yaml.YAMLError as failure:
        raise PolicyFileError([f"{path}: not valid YAML: {' '.join(str(failure).split())}"]) from failure
    except RecursionError as failure:
        raise PolicyFileError([f"{path}: lists or mappings are nested too deeply"]) from failure


class _Reader:
    """Turns nodes into policies and gathers what is wrong on the way."""

    def __init__(self, path: str) -> None:
        self._problems: list[tuple[int, str]] = []
        self._path = path

    @property
    def problems(self) -> list[str]:
        """What is wrong, in the order of the lines."""
        return [problem for _, problem in sorted(self._problems, key=itemgetter(0))]

    def policies(self, top: yaml.Node | None) -> dict[bytes, FunctionPolicy]:
        """All there are in the file. Without the key `functions`, or with nothing behind it, there are none."""
        policies: dict[bytes, FunctionPolicy] = {}
        for key_node, value_node in self._mapping(top, "").values():
            if key_node.value != "functions":
                self._report(key_node, key_node.value, "unknown key. Allowed here: functions")
                continue
            for name, (_, keys_node) in self._mapping(value_node, "functions").items():
                policies[name.encode()] = self._policy(name, self._mapping(keys_node, f"functions.{name}"))
        return policies

    def _policy(self, name: str, keys: Mapping[str, tuple[yaml.Node, yaml.Node]]) -> FunctionPolicy:
        values = {key: _value(value_node) for key, (_, value_node) in keys.items() if not _is_null(value_node)}
        try:
            written = _FunctionKeys.model_validate(values)
        except ValidationError as failure:
            for error in failure.errors(include_url=False):
                key = str(error["loc"][0])
                message = _unknown(key) if error["type"] == "extra_forbidden" else str(error["ctx"]["error"])
                self._report(keys[key][0], f"functions.{name}.{key}", message)
            return FunctionPolicy()
        return _policy(written)

    def _mapping(self, node: yaml.Node | None, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The nodes of keys and values, by the text of the keys. Nothing at all counts as an empty mapping."""
        entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        if node is None or _is_null(node):
            return entries
        if not isinstance(node, yaml.MappingNode):
            self._report(node, key, "a mapping (lines of 'key: value') is expected")
            return entries
        for key_node, value_node in node.value:
            inner = f"{key}.{key_node.value}" if key else str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                self._report(key_node, key, "a key is plain text, not a list or a mapping")
            elif key_node.value in entries:
                self._report(key_node, inner, "the key is repeated: keep one of them")
            else:
                entries[key_node.value] = (key_node, value_node)
        return entries

    def _where(self, node: yaml.Node) -> str:
        return f"{self._path}:{node.start_mark.line + 1}"

    def _report(self, node: yaml.Node, key: str, message: str) -> None:
        problem = ": ".join(part for part in (self._where(node), key, message) if part)
        self._problems.append((node.start_mark.line, problem))


def _policy(written: _FunctionKeys) -> FunctionPolicy:
    return FunctionPolicy(
        timeout_s=written.timeout or None,
        retries=written.retries,
        crash_retries=written.crash_retries,
        backoff_s=written.backoff,
        max_backoff_s=max(written.backoff, written.max_backoff),
        max_queue=written.max_queue or None,
        max_running=written.max_running or None,
        rate=written.rate,
        keep_result_s=written.keep_result or None,
    )


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _value(node: yaml.Node) -> _Value:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    return {} if isinstance(node, yaml.MappingNode) else []


def _unknown(key: str) -> str:
    known = list(_FunctionKeys.model_fields)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"unknown key{f', did you mean {nearest[0]}?' if nearest else '.'} Allowed here: {', '.join(known)}"


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return "a list" if isinstance(value, list) else "a mapping"
    return repr(value if len(value) <= 40 else value[:37] + "...")
