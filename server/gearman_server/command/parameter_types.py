"""Types of option values beside click's own. A message of theirs says what would be right."""

from __future__ import annotations

import socket
from typing import Any, Final

import click

_MAX_PORT: Final = 65535


class WholeNumber(click.IntRange):
    """A whole number within a range."""

    name = "whole number"


class Word(click.ParamType[str]):
    """Text that text commands can hold as one word."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        text = str(value)
        if " " in text or not text.isprintable():
            self.fail(
                f"{text!r} holds a blank, or what does not print: text commands could not name a job.", param, ctx
            )
        return text


class Port(WholeNumber):
    """A port's number, or the name that /etc/services has for it."""

    def __init__(self) -> None:
        super().__init__(0, _MAX_PORT)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value)
        if text.lstrip("-").isdigit():
            return super().convert(value, param, ctx)
        try:
            return socket.getservbyname(text, "tcp")
        except (OSError, ValueError):
            self.fail(f"{text!r} is neither a port number nor a service in /etc/services.", param, ctx)
