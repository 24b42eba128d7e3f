"""What keeps SQLite from its file: it says itself no more than that it can't. Looks, and changes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: What may stand beside the database's file: SQLite's log and index, and our lock.
SUFFIXES: Final = ("-wal", "-shm", "-owner")


def obstacle_of(path: Path) -> str | None:
    """Why the database can't be opened and written, and None if nothing is to be seen."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only disk"
    if not _may_write(folder, os.R_OK | os.W_OK | os.X_OK):
        return f"this user may not write the folder {folder}"
    if path.is_dir():
        return f"{path} is a folder"
    for file in (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES)):
        if file.exists() and not _may_write(file, os.R_OK | os.W_OK):
            return f"this user may not write {file}"
    return None


def _may_write(path: Path, how: int) -> bool:
    return os.access(path, how, effective_ids=True)
