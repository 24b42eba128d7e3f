"""Makes the configuration's reference from its models: the JSON schema for editors, and the documentation's tables.

`make docs` runs this module on docs/configuration.md. It makes each table between `<!-- keys of NAME -->` and
`<!-- end -->` anew; the text around the tables is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gearman_manager.config.models import Config
from gearman_manager.config.resolve import BUILT_IN_FUNCTION_KEYS, BUILT_IN_POOL_KEYS
from gearman_manager.config.section import DEFAULT_IN_WORDS
from gearman_manager.config.values import KIND

#: The sections that have a table, each under a heading of this name in lower case.
SECTIONS: Final = (
    "Config",
    "Server",
    "Cluster",
    "DeadLetters",
    "KeptResults",
    "JobServer",
    "Pool",
    "Scale",
    "Window",
    "Limits",
    "Function",
    "PerKey",
    "Brake",
    "Schedule",
    "Log",
    "Drain",
    "History",
    "Control",
    "TrustedProxy",
    "FinishedJobs",
    "PeerManager",
    "Alerts",
    "AlertTargets",
    "AlertRules",
    "Smtp",
    "OpenTelemetry",
)

#: The heading above a section's table, if it is not the section's name.
_ANCHORS: Final = {
    "AlertRules": "rules",
    "AlertTargets": "to",
    "DeadLetters": "dead_letters",
    "KeptResults": "results",
    "JobServer": "servers",
    "OpenTelemetry": "otel",
    "Pool": "pools",
    "Function": "functions",
    "PerKey": "per_key",
    "Schedule": "schedules",
    "TrustedProxy": "trusted_proxy",
    "FinishedJobs": "finished_jobs",
    "PeerManager": "peers",
    "Window": "windows",
    "Defaults": "pools",
}
_BUILT_IN: Final[Mapping[str, object]] = {**BUILT_IN_POOL_KEYS, **BUILT_IN_FUNCTION_KEYS}
_BUILT_IN_OF: Final[Mapping[str, object]] = {"Scale": BUILT_IN_POOL_KEYS["scale"]}
_MARKED: Final = re.compile(r"(<!-- keys of (\w+)[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)

Schema = Mapping[str, Any]


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file, for editors that check and complete it."""
    schema = Config.model_json_schema()
    for section in (schema, *schema["$defs"].values()):
        for form in section.get("anyOf", [section]):
            form["properties"] = {key: _with_variables(value) for key, value in form.get("properties", {}).items()}
    return schema


def tables() -> dict[str, str]:
    """The tables of keys in Markdown, by the section's name."""
    whole = Config.model_json_schema()
    return {name: _table(name, whole if name == "Config" else whole["$defs"][name]) for name in SECTIONS}


def with_tables(page: str) -> str:
    """A page with its tables made anew.

    Raises:
        KeyError: a marker names no section.
    """
    made = tables()
    return _MARKED.sub(lambda match: match[1] + made[match[2]] + match[3], page)


def _table(name: str, section: Schema) -> str:
    rows = (_row(name, key, value) for key, value in _properties(section).items())
    return "\n".join(("| key | type | default | meaning |", "|---|---|---|---|", *rows, ""))


def _properties(section: Schema) -> Schema:
    """The keys of a section. A section that has a short form too lists its mapping among several forms."""
    forms = section.get("anyOf", [section])
    properties: Schema = next(form["properties"] for form in forms if "properties" in form)
    return properties


def _row(section: str, key: str, schema: Schema) -> str:
    examples = [f"`{_yaml(example)}`" for example in schema.get("examples", ())]
    meaning = f"{schema['description']}{' For example ' + ', '.join(examples) + '.' if examples else ''}"
    return f"| `{key}` | {_kind(schema)} | {_default(section, key, schema)} | {meaning} |"


def _kind(schema: Schema) -> str:
    """The kind of a key's values, in the words of the page's first section."""
    if KIND in schema:
        return str(schema[KIND])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[keys](#{_ANCHORS.get(name, name.lower())})"
    if "anyOf" in schema:
        forms = [form for form in schema["anyOf"] if form.get("type") != "null"]
        several = [form for form in forms if form.get("type") == "array"]
        return _kind((several or forms)[0])
    if schema.get("type") == "array":
        return f"list: {_kind(schema['items'])}"
    return f"name: {_kind(schema['additionalProperties'])}"


def _default(section: str, key: str, schema: Schema) -> str:
    if DEFAULT_IN_WORDS in schema:
        return str(schema[DEFAULT_IN_WORDS])
    built_in = _BUILT_IN_OF.get(section, _BUILT_IN)
    value = built_in.get(key) if isinstance(built_in, Mapping) and section != "Config" else None
    value = schema.get("default") if value is None else value
    is_nothing = value in (None, "", [], {}) or isinstance(value, Mapping)
    return "" if is_nothing else f"`{_yaml(value)}`"


def _yaml(value: object) -> str:
    """A value in YAML, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_yaml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(f'"{entry}"' if str(entry).startswith("*") else _yaml(entry) for entry in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def _with_variables(schema: Any) -> Any:
    """A key's schema that allows `${NAME}` in place of any single value, as the reader of the file does."""
    if not isinstance(schema, Mapping):
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], _VARIABLE]}
    if "$ref" in schema or schema.get("type") in ("array", "object"):
        return schema
    outer = {key: schema[key] for key in schema if key in _ANNOTATIONS}
    return {**outer, "anyOf": [{key: schema[key] for key in schema if key not in _ANNOTATIONS}, _VARIABLE]}


_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
_ANNOTATIONS: Final = ("default", "description", "examples", "title")


def _remade(paths: list[str]) -> Iterator[str]:
    for path in paths:
        page = Path(path).read_text()
        if (made := with_tables(page)) != page:
            Path(path).write_text(made)
            yield f"{path}: tables made anew"


if __name__ == "__main__":
    for line in _remade(sys.argv[1:]):
        print(line)
