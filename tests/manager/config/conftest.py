"""Configurations as a user has them: files in a folder, with a folder of modules beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from os import geteuid, seteuid
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from gearman_manager.config import Config, ConfigError, load

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a `workers` folder in it; the current folder, so that messages show short names."""
    (tmp_path / "workers").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user can reach; pytest's own folders are closed to other users."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def read(folder: Path) -> Callable[..., Config]:
    """Loads a text as the file `config.yaml`. Files to include are given by name."""

    def read(text: str, environ: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Config:
        for name, content in {"config.yaml": text, **(files or {})}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
        return load(Path("config.yaml"), environ or {})

    return read


@pytest.fixture
def messages(read: Callable[..., Config]) -> Callable[..., list[str]]:
    """The messages for a configuration that can't be used; an empty list for a valid one."""

    def messages(*arguments: object) -> list[str]:
        try:
            read(*arguments)
        except ConfigError as error:
            return [str(problem) for problem in error.problems]
        return []

    return messages


@pytest.fixture
def ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """Takes away root's right to read everything, for the length of a block."""

    @contextmanager
    def ordinary_user() -> Iterator[None]:
        if geteuid() != 0:
            yield
            return
        seteuid(NOBODY)
        try:
            yield
        finally:
            seteuid(0)

    return ordinary_user
