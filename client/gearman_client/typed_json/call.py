"""The form in which a call of a task travels: `{"args": [1], "kwargs": {"to": "x"}}`, and its result.

docs/client/tasks.md describes it for other languages. A result is JSON, except that of a function which returns bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gearman_client.errors import ArgumentError, ResultNotDecoded
from gearman_client.typed_json.mismatch import Mismatch, kind_of, shown
from gearman_client.typed_json.plain import to_json
from gearman_client.typed_json.scalars import Decode

FORM: Final = 'expected {"args": […], "kwargs": {…}}'


def encode_call(args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
    """The workload of a call.

    Raises:
        ArgumentError: JSON has no form for an argument; the text names it.
    """
    try:
        return to_json({"args": args, "kwargs": kwargs}, exact=True, what="the call")
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"the arguments can't be sent: {error}") from error


def split_call(workload: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call as JSON values. No bytes are a call without arguments; other keys are passed over.

    Raises:
        Mismatch: it is not JSON, or not of this form.
    """
    if not workload.strip():
        return [], {}
    try:
        call = _parsed(workload)
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"the workload is no call of a task: {FORM}, and it is not JSON: {error}") from None
    if type(call) is not dict or not ("args" in call or "kwargs" in call):
        raise Mismatch(f"the workload is no call of a task: {FORM}, not {_shape(call)}")
    args, kwargs = call.get("args", []), call.get("kwargs", {})
    if kwargs == []:
        kwargs = {}  # PHP writes an empty array so
    if type(args) is not list:
        raise Mismatch(f"args of the workload: expected a list, not {kind_of(args)}")
    if type(kwargs) is not dict:
        raise Mismatch(f"kwargs of the workload: expected an object, not {kind_of(kwargs)}")
    return args, kwargs


def encode_outcome(value: object) -> bytes:
    """A task's result as the body of WORK_COMPLETE: bytes as they are, all else as JSON.

    Raises:
        TypeError, ValueError: JSON has no form for it; the text names the place.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return to_json(value, exact=True, what="the result")


class OutcomeCodec:
    """The codec of a task: it stands instead of the client's own, and makes a value of the task's result."""

    def __init__(self, function: str, kind: Any, decode: Decode) -> None:
        """`kind` is the annotation of the result (for bytes the body is the result), `decode` reads JSON by it."""
        self._function = function
        self._kind = kind
        self._decode = decode

    def encode(self, value: Any, /) -> bytes:
        """The workload of a call with these positional arguments, as `encode_call`."""
        return encode_call(value, {})

    def decode(self, data: bytes, /) -> Any:
        """The result; no bytes are None, as functions that take the job send it.

        Raises:
            ResultNotDecoded: it is not JSON, or does not fit the annotation.
        """
        if self._kind is bytes:
            return data
        try:
            value = _parsed(data) if data else None
        except (ValueError, RecursionError) as error:
            text = f"the result of {self._function} is not JSON, and its annotation is not bytes ({error})"
            raise ResultNotDecoded(text, data) from error
        try:
            return self._decode(value)
        except Mismatch as mismatch:
            text = f"the result of {self._function} does not fit its annotation: {mismatch}"
            raise ResultNotDecoded(text, data) from mismatch
        except RecursionError:
            raise ResultNotDecoded(f"the result of {self._function} is nested too deep", data) from None


def _parsed(text: bytes) -> Any:
    """The JSON value.

    Raises:
        ValueError: it is not JSON, which has neither NaN nor infinity, although Python reads them.
        RecursionError: it is too deep.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _shape(call: object) -> str:
    if type(call) is not dict:
        return kind_of(call)
    names = ", ".join(map(shown, list(call)[:5]))
    return f"an object with {names}" if names else "an empty object"
