"""How PHP functions run: as a program of ours, the bridge, started like the workers of any command pool.

Here is what the rest of the manager must know of that; what the bridge does is in the PHP files beside this one. Pure.
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
#: The environment variable by which a worker of the bridge is told all that it must know.
ORDER_VARIABLE: Final = "GEARMAN_BRIDGE"


def is_php_file(file: str) -> bool:
    """By its name; a program's function has no file, and is none."""
    return file.endswith(_SUFFIX)


def bridge_order(functions: Sequence[Mapping[str, Any]], worker: Mapping[str, object]) -> str:
    """What a worker is told, as JSON: its functions, and `worker` for its name, servers and limits."""
    return json.dumps({**worker, "functions": list(functions)})
