"""Reads a policies file: YAML with the mappings `functions:` and `schedules:`, with the manager's own keys.

All mistakes in a file are reported at once, each with file, line and key. The rules themselves are in
`jobs/policies.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Annotated, Final, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from gearman_process.regular_file import read_regular_file
from gearman_server.errors import PolicyFileError
from gearman_server.jobs.policies import (
    DEFAULT_BACKOFF_S,
    DEFAULT_MAX_BACKOFF_S,
    BrakeRule,
    FunctionPolicy,
    KeyPolicy,
    Rate,
)
from gearman_server.jobs.schedule_rules import ScheduleRule
from gearman_server.policy_file import values as v
from gearman_server.policy_file.contents import PolicyFile
from gearman_server.policy_file.schedule_keys import NAME_HELP, ScheduleKeys, is_name, rule_of, workload_of

#: A file that people write is far smaller; a log or an image named by mistake is not.
MAX_FILE_BYTES: Final = 4 << 20

#: A key's value before it is validated: the text of a scalar, or a list or mapping in its place.
_Value: TypeAlias = str | list[object] | dict[str, object]
#: The nodes of keys and values, by the text of the keys.
_Keys: TypeAlias = Mapping[str, tuple[yaml.Node, yaml.Node]]
_Model = TypeVar("_Model", bound=BaseModel)


class _FunctionKeys(BaseModel):
    """The keys of a function."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout: Annotated[float, BeforeValidator(v.duration_s)] = 0.0
    retries: Annotated[int, BeforeValidator(v.whole)] = 0
    crash_retries: Annotated[int | None, BeforeValidator(v.whole)] = None
    backoff: Annotated[float, BeforeValidator(v.duration_s)] = DEFAULT_BACKOFF_S
    max_backoff: Annotated[float, BeforeValidator(v.duration_s)] = DEFAULT_MAX_BACKOFF_S
    keep_result: Annotated[float, BeforeValidator(v.duration_s)] = 0.0
    max_queue: Annotated[int, BeforeValidator(v.whole)] = 0
    max_running: Annotated[int, BeforeValidator(v.whole)] = 0
    rate: Annotated[Rate | None, BeforeValidator(v.rate)] = None
    allow_options: Annotated[frozenset[str] | None, BeforeValidator(v.option_names)] = None
    per_key: Annotated[KeyPolicy | None, BeforeValidator(v.per_key)] = None
    fair: Annotated[bool, BeforeValidator(v.flag)] = False
    weights: Annotated[Mapping[bytes, int] | None, BeforeValidator(v.weights)] = None
    brake: Annotated[BrakeRule | None, BeforeValidator(v.brake)] = None
    unique_scope: Annotated[bool, BeforeValidator(v.is_cluster)] = False
    retention: Annotated[float | None, BeforeValidator(v.longer_than_nothing_s)] = None
    settings: object = None  #: for the worker's code; the server ignores it


def read_policies(path: str) -> PolicyFile:
    """The policies in a file.

    Raises:
        PolicyFileError: with all mistakes in it.
    """
    reader = _Reader(path)
    reader.read(_composed(path))
    if reader.problems:
        raise PolicyFileError(reader.problems)
    return PolicyFile(path, reader.policies, tuple(reader.schedules))


def _composed(path: str) -> yaml.Node | None:
    """The file's nodes, which know their lines. Composing makes no objects and expands no aliases."""
    try:
        content = read_regular_file(path, MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyFileError(
            [f"{path}: the file of --policies can't be read: {error.strerror}; name another"]
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise PolicyFileError([f"{path}: more than {MAX_FILE_BYTES >> 20} MiB: these are no policies"])
    try:
        return yaml.compose(content.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PolicyFileError([f"{path}:{line}: the text is not UTF-8: save the file in this encoding"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else path
        raise PolicyFileError([f"{where}: not valid YAML: {error.problem or error.context}"]) from error
    except yaml.YAMLError as error:
        raise PolicyFileError([f"{path}: not valid YAML: {' '.join(str(error).split())}"]) from error
    except RecursionError as error:
        raise PolicyFileError([f"{path}: lists or mappings are nested too deeply"]) from error


class _Reader:
    """Turns nodes into policies and collects the mistakes."""

    def __init__(self, path: str) -> None:
        self._problems: list[tuple[int, str]] = []
        self.policies: dict[bytes, FunctionPolicy] = {}
        self.schedules: list[ScheduleRule] = []
        self._path = path

    @property
    def problems(self) -> list[str]:
        """The mistakes, in the order of the lines."""
        return [problem for _, problem in sorted(self._problems, key=itemgetter(0))]

    def read(self, top: yaml.Node | None) -> None:
        """Read the whole file. A section may be left out or empty."""
        for key_node, value_node in self._mapping(top, "").values():
            if key_node.value == "functions":
                for name, (_, keys_node) in self._mapping(value_node, "functions").items():
                    self._read_function(name, self._mapping(keys_node, f"functions.{name}"))
            elif key_node.value == "schedules":
                for name, (name_node, keys_node) in self._mapping(value_node, "schedules").items():
                    self._read_schedule(name, name_node, self._mapping(keys_node, f"schedules.{name}"))
            else:
                self._report(key_node, key_node.value, "unknown key. Allowed here: functions, schedules")

    def _read_function(self, name: str, keys: _Keys) -> None:
        values: dict[str, object] = {}
        for key, (_, value_node) in keys.items():
            if isinstance(value_node, yaml.MappingNode):
                inner = self._mapping(value_node, f"functions.{name}.{key}")
                values[key] = {name: _value(node) for name, (_, node) in inner.items() if not _is_null(node)}
            elif not _is_null(value_node):
                values[key] = _value(value_node)
        written = self._validated(_FunctionKeys, f"functions.{name}", None, keys, values)
        if written is None:
            return
        if {"backoff", "max_backoff"} <= keys.keys() and written.max_backoff < written.backoff:
            where = f"functions.{name}.max_backoff"
            self._report(keys["max_backoff"][0], where, "max_backoff is less than backoff: raise it")
        if written.weights and not written.fair:
            where = f"functions.{name}.weights"
            self._report(keys["weights"][0], where, "keys take no turns without fair: add fair: true")
        self.policies[name.encode()] = _policy(written)

    def _read_schedule(self, name: str, name_node: yaml.Node, keys: _Keys) -> None:
        if not is_name(name):
            self._report(name_node, f"schedules.{name}", NAME_HELP)
        values: dict[str, object] = {}
        for key, (key_node, value_node) in keys.items():
            if _is_null(value_node):
                continue
            try:
                values[key] = workload_of(value_node) if key == "workload" else _value(value_node)
            except ValueError as error:
                self._report(key_node, f"schedules.{name}.{key}", str(error))
        written = self._validated(ScheduleKeys, f"schedules.{name}", name_node, keys, values)
        if written is not None:
            self.schedules.append(rule_of(name, written))

    def _validated(
        self,
        model: type[_Model],
        section: str,
        section_node: yaml.Node | None,
        keys: _Keys,
        values: Mapping[str, object],
    ) -> _Model | None:
        """The keys as a model; None if there were mistakes, which are reported."""
        try:
            return model.model_validate(values)
        except ValidationError as failure:
            for error in failure.errors(include_url=False):
                key = str(error["loc"][0]) if error["loc"] else ""
                node = keys[key][0] if key in keys else section_node
                assert node is not None  # only schedules have keys that must be there
                where = f"{section}.{key}" if key else section
                if error["type"] == "extra_forbidden":
                    self._report(node, where, _unknown(key, model))
                elif error["type"] == "missing":
                    self._report(node, where, "the key is missing")
                else:
                    self._report(node, where, str(error["ctx"]["error"]))
            return None

    def _mapping(self, node: yaml.Node | None, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The nodes of keys and values, by the text of the keys. A missing mapping counts as an empty one."""
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
    keys = replace(written.per_key or KeyPolicy(), is_fair=written.fair, weights=written.weights or {})
    return FunctionPolicy(
        timeout_s=written.timeout or None,
        retries=written.retries,
        crash_retries=written.crash_retries,
        backoff_s=written.backoff,
        max_backoff_s=max(written.backoff, written.max_backoff),
        max_queue=written.max_queue or None,
        max_running=written.max_running or None,
        rate=written.rate,
        brake=written.brake,
        keep_result_s=written.keep_result or None,
        allow_options=written.allow_options,
        keys=keys if keys.is_fair or keys.is_limited else None,
        is_unique_in_cluster=written.unique_scope,
        retention_s=written.retention,
    )


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _value(node: yaml.Node) -> _Value:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [each.value if isinstance(each, yaml.ScalarNode) else {} for each in node.value]
    return {}


def _unknown(key: str, model: type[BaseModel]) -> str:
    known = list(model.model_fields)
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"unknown key{f', did you mean {nearest[0]}?' if nearest else '.'} Allowed here: {', '.join(known)}"
