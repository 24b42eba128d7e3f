"""The folders to watch for changes of source files, links included: where a link stands, and where it leads.

The kernel tells of changes in a folder, whatever path leads there. A link that comes to lead elsewhere is a change of
the folder in which it stands, which may be far above the modules: `current` in `/srv/shop/current/workers`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gearman_manager.modules.source_files import links_below

#: As the kernel: more are a circle.
_MAX_LINKS: Final = 40


@dataclass(slots=True)
class WatchedPlaces:
    """Real folders, and the names in them whose changes matter although they are no source files below the folders."""

    #: With all folders below.
    whole: set[str] = field(default_factory=set)
    flat: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, folders: Sequence[Path], files: Iterable[str]) -> WatchedPlaces:
        """The places of all source files below the folders, and of some files anywhere."""
        places = cls()
        for folder in folders:
            real = os.path.realpath(folder)
            places.whole.add(real)
            places._note(real)  # it may be moved away as a whole
            places._note_links(str(folder))
            for link in links_below(folder):
                places.names.add(str(link))
                places._note_links(str(link))
                if os.path.isdir(link):
                    places.whole.add(os.path.realpath(link))
                places._note(os.path.realpath(link))
        for file in files:
            places.names.add(file)
            places._note(os.path.realpath(file))
            places._note_links(file)
        places.whole = {path for path in places.whole if not _is_inside(path, places.whole)}
        places.flat = {path for path in places.flat if path not in places.whole and not _is_inside(path, places.whole)}
        return places

    def _note(self, path: str) -> None:
        self.flat.add(os.path.dirname(path))
        self.names.add(path)

    def _note_links(self, path: str) -> None:
        """Note each link on the way to a path."""
        waiting, place = path.split("/")[::-1], "/"
        links = 0
        while waiting and links < _MAX_LINKS:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                place = os.path.dirname(place)
                continue
            here = os.path.join(place, part)
            try:
                target = os.readlink(here)
            except OSError:
                place = here
                continue
            links += 1
            self._note(here)
            waiting += target.split("/")[::-1]
            place = "/" if target.startswith("/") else place


def _is_inside(path: str, folders: Iterable[str]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)
