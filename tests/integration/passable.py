"""Runs our commands as another user where the checkout or Python lies in a folder that only root may enter.

In a mount namespace, open folders cover such closed ones; they show only the paths that are needed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
NEEDED = (Path(sys.base_prefix), CHECKOUT, Path(sys.prefix))
_OTHERS_MAY_ENTER = 0o001


def prelude(stash: Path) -> list[str]:
    """Shell lines that make the needed paths reachable; root runs them in a mount namespace of its own."""
    lines = ["mount --make-rprivate /"]
    for number, closed in enumerate(sorted(set(_closed(NEEDED)))):
        kept = shlex.quote(str(stash / f"kept-{number}"))
        lines += [f"mkdir -p {kept}", f"mount --rbind {closed} {kept}", f"mount -t tmpfs -o mode=755 none {closed}"]
        for needed in NEEDED:
            if needed.is_relative_to(closed):
                lines += [f"mkdir -p {needed}", f"mount --rbind {kept}/{needed.relative_to(closed)} {needed}"]
    return lines


def passable(command: Iterable[str | Path], stash: Path) -> list[str | Path]:
    """The command for root to run, so that the user that the command switches to can read our code."""
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*prelude(stash), 'exec "$@"']), "sh", *command]


def _closed(paths: Iterable[Path]) -> Iterable[Path]:
    """For each path, the outermost folder that other users may not enter."""
    for path in paths:
        for folder in reversed(path.parents):
            if not os.stat(folder).st_mode & _OTHERS_MAY_ENTER:
                yield folder
                break
