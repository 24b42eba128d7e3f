"""Notices changed contents of source files: events of the kernel wake it, hashes decide.

Opening and closing a file is no change (the zygote's imports do that too). After the first event it waits until the
contents stay as they are, longer if several files have changed, and while git works there: half a deployment is no
state to load.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gevent
import gevent.event
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from gearman_manager.code.watched_places import WatchedPlaces
from gearman_manager.modules.source_files import content_hashes

_log = logging.getLogger("reload")
#: So long the contents must stay as they are: after one changed file, and after several.
SETTLE_S: Final = 0.25
SETTLE_SEVERAL_S: Final = 1.0
SETTLE_AT_MOST_S: Final = 30.0
#: An older lock of git was left behind by a crash.
_GIT_LOCK_S: Final = 60.0
_CHANGES: Final = frozenset({"created", "modified", "moved", "deleted"})


class _Forwarder(FileSystemEventHandler):
    """Runs in watchdog's thread, and only rings the event loop's bell."""

    def __init__(self, ring: Callable[[], None], concerns: Callable[[FileSystemEvent], bool]) -> None:
        self._ring = ring
        self._concerns = concerns

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGES and self._concerns(event):
            self._ring()


class SourceWatch:
    """Calls back, in a greenlet of its own, when the contents of source files have changed.

    It watches all source files below the folders of `watch`, and the files of `follow`, which may lie anywhere. Links
    are followed.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Nothing is watched before `watch` names folders."""
        self._folders: list[Path] = []
        self._files: frozenset[str] = frozenset()
        self._names: frozenset[str] = frozenset()
        self._watched: dict[tuple[str, bool], _Watched] = {}
        self._hashes: Mapping[str, str] | None = None
        self._changed = changed
        self._stirred = gevent.event.Event()
        self._is_quiet = gevent.event.Event()
        self._is_quiet.set()
        self._bell = gevent.get_hub().loop.async_()
        self._bell.start(self._stirred.set)
        self._observer = Observer()
        self._greenlet = gevent.Greenlet(self._run)

    def watch(self, folders: Sequence[Path]) -> None:
        """Watch all source files below these folders from now on, instead of the former ones."""
        if self._folders != list(folders):
            self._folders = list(folders)
            if not self._files:
                self._hashes = None
        self._renew()
        self._compare()
        if not self._greenlet.started:
            self._observer.start()
            self._greenlet.start()

    def follow(self, hashes: Mapping[str, str]) -> None:
        """Watch these files too, instead of the former ones. The hashes are those of the loaded code."""
        self._files = frozenset(hashes)
        self._hashes = dict(hashes)
        if self._greenlet.started:
            self._renew()
            self._compare()

    def wait_until_quiet(self) -> None:
        """Wait while files are changing."""
        gevent.sleep(0)  # if an event has just come, its greenlet has yet to hear of it
        self._is_quiet.wait(SETTLE_AT_MOST_S + SETTLE_SEVERAL_S)

    def close(self) -> None:
        """Stop watching."""
        self._greenlet.kill()
        self._observer.stop()
        self._bell.stop()
        self._bell.close()

    def _compare(self) -> None:
        """Look for changes that came before the watches."""
        hashes = content_hashes(self._folders, self._files)
        if self._hashes is None:
            self._hashes = hashes
        elif hashes != self._hashes:
            self._stirred.set()

    def _concerns_sources(self, event: FileSystemEvent) -> bool:
        """For a folder of sources: any folder in it may hold some."""
        paths = (str(event.src_path), str(event.dest_path))
        is_source = any(path.endswith((".py", ".php")) or os.path.islink(path) for path in paths)
        # A folder is modified whenever anything is written into it.
        is_folder = event.is_directory and event.event_type != "modified"
        return is_folder or is_source or self._concerns_names(event)

    def _concerns_names(self, event: FileSystemEvent) -> bool:
        """For any other folder, which may be a busy one such as /tmp."""
        return str(event.src_path) in self._names or str(event.dest_path) in self._names

    def _renew(self) -> bool:
        """Watch the places where the sources are now; returns whether they were others before."""
        places = WatchedPlaces.of(self._folders, self._files)
        self._names = frozenset(places.names)
        wanted = {(path, True) for path in places.whole} | {(path, False) for path in places.flat}
        gone = [place for place, watched in self._watched.items() if place not in wanted or watched.has_moved(place[0])]
        for place in gone:
            self._observer.unschedule(self._watched.pop(place).watch)
        fresh = wanted - self._watched.keys()
        for path, recursive in sorted(fresh):
            self._schedule(path, recursive=recursive)
        return bool(gone or fresh)

    def _schedule(self, path: str, *, recursive: bool) -> None:
        concerns = self._concerns_sources if recursive else self._concerns_names
        forwarder = _Forwarder(self._bell.send, concerns)
        try:
            watch = self._observer.schedule(forwarder, path, recursive=recursive)
            self._watched[path, recursive] = _Watched(watch, _identity(path))
        except OSError as error:
            if os.path.exists(path):
                _log.warning("can't watch %s for changes: %s; a HUP reloads it all the same", path, error.strerror)

    def _run(self) -> None:
        while True:
            self._stirred.wait()
            self._is_quiet.clear()
            hashes = self._settled_hashes()
            self._is_quiet.set()
            if self._renew():
                hashes = content_hashes(self._folders, self._files)  # what changed before the new watches
            if hashes != self._hashes:
                changed = _differing(hashes, self._hashes or {})
                self._hashes = hashes
                _log.info("%s changed", ", ".join(sorted(changed)[:5]) + (" …" if len(changed) > 5 else ""))
                self._changed()

    def _settled_hashes(self) -> dict[str, str]:
        """Wait until the contents stay as they are; returns them. Events prove nothing: jobs may write files here."""
        at_most = time.monotonic() + SETTLE_AT_MOST_S
        gevent.sleep(SETTLE_S)
        hashes = self._now()
        while hashes != self._hashes and time.monotonic() < at_most:
            several = len(_differing(hashes, self._hashes or {})) > 1
            gevent.sleep(SETTLE_SEVERAL_S if several else SETTLE_S)
            before, hashes = hashes, self._now()
            if hashes == before and not self._git_works():
                break
        return hashes

    def _now(self) -> dict[str, str]:
        self._stirred.clear()
        return content_hashes(self._folders, self._files)

    def _git_works(self) -> bool:
        """Whether git is about to change the working tree around a folder."""
        for folder in self._folders:
            for parent in (folder, *folder.parents):
                with suppress(OSError):
                    if time.time() - (parent / ".git/index.lock").stat().st_mtime < _GIT_LOCK_S:
                        return True
        return False


@dataclass(frozen=True, slots=True)
class _Watched:
    """A watch of the observer, and the folder that it watches, whatever its path is now."""

    watch: ObservedWatch
    identity: tuple[int, int] | None

    def has_moved(self, path: str) -> bool:
        """Whether another folder has the path now."""
        return _identity(path) != self.identity


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _differing(new: Mapping[str, str], old: Mapping[str, str]) -> set[str]:
    return {file for file, _ in new.items() ^ old.items()}
