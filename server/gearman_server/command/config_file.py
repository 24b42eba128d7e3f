"""The configuration file: the command line's own words, parted by blanks or lines. `#` starts a comment.

The command line wins over it. As in gearmand, a word that is no option is passed over.
"""

from __future__ import annotations

import os
from typing import Any, Final

import click
from click.core import ParameterSource

from gearman_process.regular_file import read_regular_file
from gearman_server.command.options import DEFAULT_CONFIG_FILE
from gearman_server.errors import UsageError

#: A longer file holds no options.
_MAX_FILE_BYTES: Final = 1 << 20


def with_config_file(context: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the command line, and those of the file for what the command line leaves out.

    Raises:
        UsageError: a file that was asked for can't be read, or what it says can't be carried out.
    """
    path = _path(options)
    if path is None:
        return options
    try:
        given = context.command.make_context("gearman-server", _words(path), allow_extra_args=True)
    except click.ClickException as error:
        raise UsageError(f"--config-file {path}: {error.format_message()}") from error
    merged = dict(options)
    for name, value in given.params.items():
        if _is_given(given, name) and not _is_given(context, name):
            merged[name] = value
    return merged


def _path(options: dict[str, Any]) -> str | None:
    asked: str | None = options["config_file"]
    if asked is not None:
        return asked or None
    # A supervisor gives its server every option by the command line.
    if options["supervised_fd"] is not None or not os.path.exists(DEFAULT_CONFIG_FILE):
        return None
    return DEFAULT_CONFIG_FILE


def _words(path: str) -> list[str]:
    try:
        lines = read_regular_file(path, _MAX_FILE_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"--config-file {path} can't be read: {reason}; name another, or '' for none") from error
    words: list[str] = []
    for line in lines:
        for word in line.split():
            if word.startswith("#"):
                break
            words.append(word)
    return words


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE
