"""The command `import-ini`: reads GearmanManager's ini file and prints our YAML. The conversion is in `migration`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

import click

from gearman_manager.command.context import mistakes_are_messages

_MAX_FILE_BYTES: Final = 1 << 20
_YAML_KEY: Final = re.compile(r"(---|[\w.-]+:(\s|$))")


@click.command("import-ini", short_help="Turn GearmanManager's ini file into our YAML.")
@click.argument("file", type=click.Path(path_type=Path))
@mistakes_are_messages
def import_ini(file: Path) -> None:
    """Print our YAML for GearmanManager's ini FILE, with a comment for whatever has no twin.

    Write it beside the ini file: relative paths start at the configuration's folder.

    \b
    Example:
      gearman-manager import-ini config.ini > config.yaml
    """
    sys.stdout.write(read_ini(file))


def read_ini(path: Path) -> str:
    """The YAML for an ini file.

    Raises:
        ConfigError: the file can't be read, is not an ini file, or has impossible values.
    """
    from gearman_manager.config.error import ConfigError
    from gearman_manager.config.problem import Problem
    from gearman_manager.migration.import_ini import import_ini as converted
    from gearman_process.regular_file import read_regular_file

    def refusal(message: str, line: int = 0) -> ConfigError:
        return ConfigError([Problem(str(path), line, "", message)])

    if path.suffix == ".php":
        raise refusal("a PHP file can't be imported, it would have to be run: write its array as an ini file first")
    try:
        content = read_regular_file(path, _MAX_FILE_BYTES + 1)
    except OSError as error:
        raise refusal(f"can't be read: {error.strerror}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise refusal("more than 1 MiB: this is no configuration")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refusal("the text is not UTF-8: save it in this encoding", line) from error
    if _looks_like_yaml(path, text):
        raise refusal(f"this is YAML, not an ini file: run it with `gearman-manager -c {path}`")
    return converted(text, str(path))


def _looks_like_yaml(path: Path, text: str) -> bool:
    lines = [line for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;"]
    has_section = any(line.lstrip().startswith("[") for line in lines)
    return not has_section and (path.suffix in (".yaml", ".yml") or any(map(_YAML_KEY.match, lines)))
