"""Notices changed contents of source files: events of the kernel wake it, hashes decide.

Opening and closing a file is no change (the zygote's imports do that too). After the first event it waits for 200 ms
without another one, at most for a second, so that several writes count as one change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import gevent
import gevent.event
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from gearman_manager.modules.source_files import content_hashes

_log = logging.getLogger("reload")
SETTLE_S: Final = 0.2
SETTLE_AT_MOST_S: Final = 1.0
_CHANGES: Final = frozenset({"created", "modified", "moved", "deleted"})


class _Forwarder(FileSystemEventHandler):
    """Runs in watchdog's thread, and only rings the event loop's bell."""

    def __init__(self, ring: Callable[[], None], concerns: Callable[[str], bool]) -> None:
        self._ring = ring
        self._concerns = concerns

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = (str(event.src_path), str(event.dest_path))
        if event.event_type in _CHANGES and (event.is_directory or any(map(self._concerns, paths))):
            self._ring()


class SourceWatch:
    """Calls back, in a greenlet of its own, when the contents of source files have changed.

    It watches all source files below the folders of `watch`, and the files of `follow`, which may lie anywhere.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Nothing is watched before `watch` names folders."""
        self._folders: list[Path] = []
        self._files: frozenset[str] = frozenset()
        self._watched: set[str] = set()
        self._hashes: Mapping[str, str] = {}
        self._changed = changed
        self._stirred = gevent.event.Event()
        self._bell = gevent.get_hub().loop.async_()
        self._bell.start(self._stirred.set)
        self._observer = Observer()
        self._greenlet = gevent.Greenlet(self._run)

    def watch(self, folders: Sequence[Path]) -> None:
        """Watch all source files below these folders from now on, instead of the former ones."""
        self._folders = list(folders)
        self._observer.unschedule_all()
        self._watched.clear()
        for folder in self._folders:
            self._watch(folder, recursive=True)
        self._look_afresh()
        if not self._greenlet.started:
            self._observer.start()
            self._greenlet.start()

    def follow(self, files: Iterable[str]) -> None:
        """Watch these files too, instead of the former ones."""
        self._files = frozenset(files)
        if self._greenlet.started:
            self._look_afresh()

    def close(self) -> None:
        """Stop watching."""
        self._greenlet.kill()
        self._observer.stop()
        self._bell.stop()
        self._bell.close()

    def _look_afresh(self) -> None:
        """Note the current contents, from which later ones must differ to be a change."""
        self._hashes = content_hashes(self._folders, self._files)
        for parent in {Path(file).parent for file in self._files}:
            if not any(parent.is_relative_to(folder) for folder in self._folders):
                self._watch(parent, recursive=False)

    def _concerns(self, path: str) -> bool:
        return path.endswith(".py") or path in self._files

    def _watch(self, folder: Path, *, recursive: bool) -> None:
        if str(folder) in self._watched:
            return
        try:
            self._observer.schedule(_Forwarder(self._bell.send, self._concerns), str(folder), recursive=recursive)
            self._watched.add(str(folder))
        except OSError as error:
            _log.warning("can't watch %s for changes: %s; a HUP reloads it all the same", folder, error.strerror)

    def _run(self) -> None:
        while True:
            self._stirred.wait()
            self._settle()
            hashes = content_hashes(self._folders, self._files)
            if hashes != self._hashes:
                changed = {file for file, _ in hashes.items() ^ self._hashes.items()}
                self._hashes = hashes
                _log.info("%s changed", ", ".join(sorted(changed)[:5]) + (" …" if len(changed) > 5 else ""))
                self._changed()

    def _settle(self) -> None:
        at_most = time.monotonic() + SETTLE_AT_MOST_S
        while self._stirred.is_set() and time.monotonic() < at_most:
            self._stirred.clear()
            self._stirred.wait(SETTLE_S)
        self._stirred.clear()
