"""The types of single values in the configuration's models: each checks, converts and words its own errors.

They use plain validators, so that none of pydantic's own wording reaches a user. `gearman_process.values` parses
durations, sizes and rates. Pure.
"""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, GetJsonSchemaHandler, PlainValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gearman_client.address import Address
from gearman_client.job_pairs import OPTION_NAMES
from gearman_manager.config import worker_count
from gearman_manager.config.address import parse_address, parse_listen_address
from gearman_manager.config.worker_count import WorkerCount, parse_worker_count
from gearman_process.values import durations, rates, sizes
from gearman_process.values.quoting import not_among, shown

STOP_SIGNALS: Final = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL")
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
STORES: Final = ("memory", "sqlite:///FILE", "postgresql+psycopg://HOST/NAME", "mysql+pymysql://HOST/NAME")

#: The part after the scheme: an optional user, a host, and a database.
_NAMES_DATABASE: Final = re.compile(r"(?:.*@)?[^/?]*/[^?]")

#: The JSON schema's keyword for a kind of value, named as in the documentation; editors ignore it.
KIND: Final = "x-kind"

#: The longest wait for a list of jobs to fill.
MAX_LINGER_S: Final = 60.0

#: Gearman itself has no limit, but the SQL stores of other servers declare columns of 255.
MAX_FUNCTION_NAME_BYTES: Final = 255


def _duration(value: object) -> float:
    return durations.parse_duration_s(value)


def _positive_duration(value: object) -> float:
    seconds = durations.parse_duration_s(value)
    if seconds <= 0:
        raise ValueError("a duration above 0 is expected, such as 500ms or 30s")
    return seconds


def _linger(value: object) -> float:
    seconds = durations.parse_duration_s(value)
    if seconds > MAX_LINGER_S:
        raise ValueError(f"at most {MAX_LINGER_S:g}s are expected, not {shown(value)}")
    return seconds


def _size(value: object) -> int:
    return sizes.parse_size_bytes(value)


def _minimum_workers(value: object) -> WorkerCount:
    return value if isinstance(value, WorkerCount) else parse_worker_count(value, 0)


def _rate(value: object) -> str:
    """The rate as it was written; empty for no limit."""
    return "" if rates.parse_rate(value) is None else str(value)


def _maximum_workers(value: object) -> WorkerCount:
    return value if isinstance(value, WorkerCount) else parse_worker_count(value, 1)


def _whole(minimum: int, maximum: int) -> Callable[[object], int]:
    allowed = f"from {minimum} up" if maximum >= 10**9 else f"from {minimum} to {maximum}"

    def whole(value: object) -> int:
        # A quoted "${VARIABLE}" gives the number as text.
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise ValueError(f"a whole number {allowed} is expected, not {shown(value)}")
        return value

    return whole


def _number(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value):
        return float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"a number is expected, not {shown(value)}")
    return float(value)


def _positive_number(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError(f"a number above 0 is expected, not {shown(value)}")
    return number


def _share(value: object) -> float:
    number = _number(value)
    if not 0 < number <= 1:
        raise ValueError(f"a share above 0 and up to 1 is expected, such as 0.7, not {shown(value)}")
    return number


def _flag(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise ValueError(f"true or false is expected, not {shown(value)}")
    return value


def parse_text(value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str):
        quotes = " (put it in quotes)" if isinstance(value, (int, float)) else ""
        raise ValueError(f"text is expected, not {shown(value)}{quotes}")
    if not value or "\0" in value:
        raise ValueError("text without zero bytes is expected" if value else "text is expected, not an empty one")
    return value


def _name_or_id(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else parse_text(value)


def _variable(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if value == "" and isinstance(value, str) else parse_text(value)


def _function_name(value: object) -> str:
    name = unicodedata.normalize("NFC", parse_text(value))  # as a Mac's file names are read
    # A blank breaks the text protocol. A TAB does not, and Perl's clients put one between their prefix and the name.
    if not name.replace("\t", "").isprintable() or " " in name:
        raise ValueError(f"a function's name holds no blank, and no control character but TAB: {shown(name)}")
    if len(name.encode()) > MAX_FUNCTION_NAME_BYTES:
        raise ValueError(f"a function's name has at most {MAX_FUNCTION_NAME_BYTES} bytes")
    return name


def _name_of(what: str) -> Callable[[object], str]:
    def name(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
            raise ValueError(f"a {what}'s name consists of up to 64 letters, digits, '_', '-' and '.'")
        return value

    return name


def _address_with_port(example: int) -> Callable[[object], Address]:
    """Makes a validator for an address to listen on whose port must be written: the job server's would be wrong."""

    def address_with_port(value: object) -> Address:
        address = parse_listen_address(value)
        if not re.fullmatch(r"(.*:)?[0-9]+", str(value)):
            raise ValueError(f"a port is missing: {Address(address.host, example)}, or another that is free")
        return address

    return address_with_port


def parse_token(value: object) -> str:
    """The secret of the control API's TCP address."""
    # The refused text is never shown: it may be almost the right token.
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]{16,512}", value):
        raise ValueError("16 to 512 characters are expected, without blanks, as `openssl rand -hex 16` prints them")
    return value


def _prefix(value: object) -> str:
    return value if value == "" and isinstance(value, str) else _function_name(value)


def _stop_signal(value: object) -> str:
    name = value.upper().removeprefix("SIG") if isinstance(value, str) else ""
    if name not in STOP_SIGNALS:
        raise ValueError(f"one of {', '.join(STOP_SIGNALS)} is expected, not {shown(value)}")
    return f"SIG{name}"


def choice(choices: tuple[str, ...]) -> Callable[[object], str]:
    """Makes a validator that accepts one of `choices`."""

    def chosen(value: object) -> str:
        if not isinstance(value, str) or value.lower() not in choices:
            raise ValueError(f"one of {', '.join(choices)} is expected, not {shown(value)}")
        return value.lower()

    return chosen


def _command(value: object) -> tuple[str, ...]:
    if isinstance(value, (list, tuple)):
        words = tuple(_variable(word) for word in value)
    else:
        line = parse_text(value)
        try:
            words = tuple(shlex.split(line))
        except ValueError as error:
            raise ValueError(f"a command line can't be read: {str(error).lower()}") from error
    if not words or not words[0]:
        raise ValueError("a program and its arguments are expected, such as php worker.php")
    return words


def _store(value: object) -> str:
    if value == "memory":
        return "memory"
    # A store's URL can hold a password, so messages show only its scheme.
    scheme, separator, rest = value.partition("://") if isinstance(value, str) else (shown(value), "", "")
    allowed = tuple(store.partition("://")[0] for store in STORES[1:])
    if not separator or scheme not in allowed:
        written = f"{scheme}://" if separator else "this"
        raise ValueError(f"one of {', '.join(STORES)} is expected, {written} is not one of them")
    if scheme == "sqlite" and not rest.startswith("/"):
        raise ValueError("sqlite: has three slashes before the file, as in sqlite:///jobs.db, and four before /var")
    if scheme == "sqlite" and (rest in ("", "/") or ":memory:" in rest):
        raise ValueError("sqlite:/// needs a file, as in sqlite:///jobs.db; to keep jobs in memory only write memory")
    if scheme == "mysql+pymysql" and not _NAMES_DATABASE.match(rest):
        raise ValueError("mysql+pymysql:// needs a database, as in mysql+pymysql://USER@HOST/DATABASE")
    return f"{scheme}://{rest}"


def _mapping(value: object) -> object:
    """Accepts mappings only. A key with nothing under it counts as an empty mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) and not hasattr(value, "model_fields_set"):
        raise ValueError(f"a mapping (lines of 'key: value') is expected, not {shown(value)}")
    return value


def _free_mapping(value: object) -> Mapping[str, object]:
    mapping = _mapping(value)
    return dict(mapping) if isinstance(mapping, Mapping) else {}


def _several(value: object) -> object:
    """A list; a single entry may be written without the list around it."""
    if isinstance(value, (str, int, Mapping)) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"one entry or a list of them is expected, not {shown(value)}")
    return value


def _at_least_one(value: object) -> object:
    entries = _several(value)
    if not entries:
        raise ValueError("at least one entry is expected, not an empty list")
    return entries


def _option_names(value: object) -> tuple[str, ...]:
    names = value if isinstance(value, (list, tuple)) else [value]
    for name in names:
        if name not in OPTION_NAMES:
            raise ValueError(not_among(name, OPTION_NAMES, "option of a job"))
    return tuple(sorted(set(names)))


def _unique_scope(value: object) -> str:
    if value not in ("server", "cluster"):
        raise ValueError(f"server or cluster is expected, not {shown(value)}")
    return str(value)


def schema(kind: str, *forms: dict[str, object]) -> WithJsonSchema:
    """The schema by which editors check a value: one of `forms`. `kind` is its name in the documentation."""
    form = forms[0] if len(forms) == 1 else {"anyOf": list(forms)}
    return WithJsonSchema({**form, KIND: kind})


_ZERO: Final[dict[str, object]] = {"type": "integer", "const": 0}
_STRING: Final[dict[str, object]] = {"type": "string"}
_TEXT: Final[dict[str, object]] = {"type": "string", "minLength": 1}
_DURATION: Final[dict[str, object]] = {"type": "string", "pattern": durations.PATTERN}
_SIZE: Final[dict[str, object]] = {"type": "string", "pattern": sizes.PATTERN}
_WORKERS: Final[dict[str, object]] = {"type": "string", "pattern": worker_count.PATTERN}
_STRING_OR_NUMBER: Final[dict[str, object]] = {"type": ["string", "integer"]}
ADDRESS_SCHEMA: Final[dict[str, object]] = {**_STRING_OR_NUMBER, KIND: "address"}
_UNLIMITED: Final = 10**18


def _whole_schema(minimum: int) -> dict[str, object]:
    return {"type": "integer", "minimum": minimum}


Duration = Annotated[float, PlainValidator(_duration), schema("duration", _DURATION, _ZERO)]
PositiveDuration = Annotated[float, PlainValidator(_positive_duration), schema("duration", _DURATION)]
Rate = Annotated[str, PlainValidator(_rate), schema("rate", {"type": "string", "pattern": rates.PATTERN}, _ZERO)]
Size = Annotated[int, PlainValidator(_size), schema("size", _SIZE, _ZERO)]
MinimumWorkers = Annotated[WorkerCount, PlainValidator(_minimum_workers), schema("workers", _whole_schema(0), _WORKERS)]
MaximumWorkers = Annotated[WorkerCount, PlainValidator(_maximum_workers), schema("workers", _whole_schema(1), _WORKERS)]
Natural = Annotated[int, PlainValidator(_whole(0, _UNLIMITED)), schema("number", _whole_schema(0))]
Positive = Annotated[int, PlainValidator(_whole(1, _UNLIMITED)), schema("number", _whole_schema(1))]
#: Each job is a greenlet with a slot of the scoreboard; beyond this number, more processes serve better.
MAX_CONCURRENCY: Final = 1000
Concurrency = Annotated[
    int,
    PlainValidator(_whole(1, MAX_CONCURRENCY)),
    schema(f"number, 1 to {MAX_CONCURRENCY}", {**_whole_schema(1), "maximum": MAX_CONCURRENCY}),
]
#: Each has a loop of its own, and takes a core under load.
MAX_INSTANCES: Final = 64
Instances = Annotated[
    int,
    PlainValidator(_whole(1, MAX_INSTANCES)),
    schema(f"number, 1 to {MAX_INSTANCES}", {**_whole_schema(1), "maximum": MAX_INSTANCES}),
]
#: Beside 1 this leaves the others next to nothing.
MAX_WEIGHT: Final = 1000
Weight = Annotated[
    int,
    PlainValidator(_whole(1, MAX_WEIGHT)),
    schema(f"number, 1 to {MAX_WEIGHT}", {**_whole_schema(1), "maximum": MAX_WEIGHT}),
]
#: What a worker may hold beside the job that it runs, and the most jobs of one call.
MAX_JOBS_AT_ONCE: Final = 1000
JobsAtOnce = Annotated[
    int,
    PlainValidator(_whole(1, MAX_JOBS_AT_ONCE)),
    schema(f"number, 1 to {MAX_JOBS_AT_ONCE}", {**_whole_schema(1), "maximum": MAX_JOBS_AT_ONCE}),
]
#: An empty list allows none.
OptionNames = Annotated[
    tuple[str, ...],
    PlainValidator(_option_names),
    schema("list of options", {"type": "array", "items": {"enum": list(OPTION_NAMES)}}, {"enum": list(OPTION_NAMES)}),
]
UniqueScope = Annotated[
    str, PlainValidator(_unique_scope), schema("`server` or `cluster`", {"enum": ["server", "cluster"]})
]
Linger = Annotated[float, PlainValidator(_linger), schema("duration", _DURATION, _ZERO)]
Niceness = Annotated[
    int, PlainValidator(_whole(-20, 19)), schema("number, -20 to 19", {**_whole_schema(-20), "maximum": 19})
]
PositiveNumber = Annotated[
    float, PlainValidator(_positive_number), schema("number", {"type": "number", "exclusiveMinimum": 0})
]
Share = Annotated[
    float, PlainValidator(_share), schema("number, 0 to 1", {"type": "number", "exclusiveMinimum": 0, "maximum": 1})
]
Flag = Annotated[bool, PlainValidator(_flag), schema("`true` or `false`", {"type": "boolean"})]
Text = Annotated[str, PlainValidator(parse_text), schema("text", _TEXT)]
FilePath = Annotated[str, PlainValidator(parse_text), schema("path", _TEXT)]
Glob = Annotated[str, PlainValidator(parse_text), schema("glob", _TEXT)]
NameOrId = Annotated[str, PlainValidator(_name_or_id), schema("name or number", _STRING_OR_NUMBER)]
Variable = Annotated[str, PlainValidator(_variable), schema("text", _STRING_OR_NUMBER)]
FunctionName = Annotated[str, PlainValidator(_function_name), schema("function", _TEXT)]
ScheduleName = Annotated[str, PlainValidator(_name_of("schedule")), schema("name", _STRING)]
PoolName = Annotated[str, PlainValidator(_name_of("pool")), schema("name", _STRING)]
BudgetName = Annotated[str, PlainValidator(_name_of("budget")), schema("name", _STRING)]
Prefix = Annotated[str, PlainValidator(_prefix), schema("text", _STRING)]
StopSignal = Annotated[str, PlainValidator(_stop_signal), schema("signal", _STRING)]
LogFormat = Annotated[str, PlainValidator(choice(LOG_FORMATS)), schema("word", {**_STRING, "enum": list(LOG_FORMATS)})]
LogLevel = Annotated[str, PlainValidator(choice(LOG_LEVELS)), schema("word", {**_STRING, "enum": list(LOG_LEVELS)})]
Store = Annotated[str, PlainValidator(_store), schema("URL", _STRING)]
Command = Annotated[
    tuple[str, ...],
    PlainValidator(_command),
    schema("command line", _STRING, {"type": "array", "items": {"type": "string"}}),
]
ServerAddress = Annotated[Address, PlainValidator(parse_address), WithJsonSchema(ADDRESS_SCHEMA)]
ListenAddress = Annotated[Address, PlainValidator(parse_listen_address), WithJsonSchema(ADDRESS_SCHEMA)]
ControlAddress = Annotated[Address, PlainValidator(_address_with_port(4731)), WithJsonSchema(ADDRESS_SCHEMA)]
MetricsAddress = Annotated[Address, PlainValidator(_address_with_port(4732)), WithJsonSchema(ADDRESS_SCHEMA)]
Token = Annotated[str, PlainValidator(parse_token), schema("text", {**_STRING, "minLength": 16})]
FreeMapping = Annotated[Mapping[str, Any], PlainValidator(_free_mapping), schema("mapping", {"type": "object"})]


class _Several(BeforeValidator):
    """A validator for lists, whose JSON schema says that one entry may stand alone."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        lists = [form for form in schema.get("anyOf", [schema]) if form.get("type") == "array"]
        return {"anyOf": [*(form["items"] for form in lists), *schema.get("anyOf", [schema])]}


is_mapping = BeforeValidator(_mapping)
one_or_several = _Several(_several)
at_least_one = _Several(_at_least_one)
