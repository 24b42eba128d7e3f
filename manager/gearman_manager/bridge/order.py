"""The command and the order that start the bridge, our program for PHP functions, like any command pool's workers.

This is all that the rest of the manager knows of the bridge; the PHP files beside this one are the program. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

INTERPRETER: Final = "php"
MISSING: Final = (
    f"PHP functions need the program {INTERPRETER}, which is not on the PATH: "
    "install PHP 7.4 or newer (its command-line version)"
)
_SUFFIX: Final = ".php"
_FOLDER: Final = PurePath(__file__).parent
INSPECTION: Final = (INTERPRETER, str(_FOLDER / "inspect.php"))
COMMAND: Final = (INTERPRETER, str(_FOLDER / "bridge.php"))
#: The environment variable that holds the order of a bridge worker.
ORDER_VARIABLE: Final = "GEARMAN_BRIDGE"


def is_php_file(file: str) -> bool:
    """Whether the file's name is a PHP file's. A program's function has no file (an empty name)."""
    return file.endswith(_SUFFIX)


def bridge_order(functions: Sequence[Mapping[str, Any]], worker: Mapping[str, object]) -> str:
    """A worker's order as JSON: its functions, and `worker` for its name, servers and limits."""
    return json.dumps({**worker, "functions": list(functions)})
