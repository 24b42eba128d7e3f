"""The base of all sections of the configuration: frozen, and closed to unknown keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.config import JsonDict

#: The JSON schema's keyword for a default in words; editors ignore keywords that they do not know.
DEFAULT_IN_WORDS: Final = "x-default"


def shown_default(text: str) -> JsonDict:
    """A default in words, for `json_schema_extra`, if the value alone says too little. See `reference.py`."""
    return {DEFAULT_IN_WORDS: text}


class Section(BaseModel):
    """Base of all sections. A key with nothing after its colon counts as not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    present_when_empty: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def key_names(cls) -> list[str]:
        """The keys as users write them; a field whose key is a word of Python has it as its alias."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_written(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = set(cls.key_names()) - cls.present_when_empty
        return {key: value for key, value in data.items() if value is not None or key not in known}
