"""What would keep a manager with this configuration from starting, found without starting anything.

`check` and nothing else asks for it: what is wrong now may be right by the time of a start.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from gearman_client import Address
from gearman_manager.access.credentials import read_credentials
from gearman_manager.config import Config, ConfigError, Layout, Problem, ResolvedPool
from gearman_manager.errors import StartError
from gearman_manager.logs.destinations import SYSLOG
from gearman_manager.supervisor.privileges import wanted_account
from gearman_manager.supervisor.run_folder import RunFolder, default_run_folder
from gearman_manager.telemetry.requirements import check_telemetry
from gearman_process.account import Account, find_user

_SQLITE: Final = "sqlite:///"
#: The module that a store's URL needs, and the extra that installs it.
_DRIVERS: Final[Mapping[str, tuple[str, str]]] = {
    "postgresql+psycopg": ("psycopg", "postgresql"),
    "mysql+pymysql": ("pymysql", "mysql"),
}
_DATABASE_PORTS: Final[Mapping[str, int]] = {"postgresql+psycopg": 5432, "mysql+pymysql": 3306}
_CONNECT_TIMEOUT_S: Final = 3.0
_SQLITE_HEADER: Final = b"SQLite format 3\0"
#: What programs that run scripts are called, and how the names of their scripts end.
_INTERPRETERS: Final = re.compile(r"(python|php|perl|ruby|node|bash|sh)[\d.]*")
_SCRIPT_ENDINGS: Final = (".py", ".php", ".pl", ".rb", ".js", ".mjs", ".sh")


def start_problems(config: Config, layout: Layout) -> list[Problem]:
    """The mistakes that only a start would show otherwise."""
    return [
        *_refused(config),
        *_unknown_users(config, layout),
        *_programs(config, layout),
        *_paths(config),
        *_driver(config),
        *(problem for problem in _addresses(config) if problem.is_fatal),
    ]


def start_notices(config: Config) -> list[Problem]:
    """What would keep it from starting at this moment; nothing if it runs."""
    if _is_running(config):
        return []
    return [*(problem for problem in _addresses(config) if not problem.is_fatal), *_unreachable_store(config)]


def _is_running(config: Config) -> bool:
    """Whether a manager with this configuration answers on its control socket."""
    with suppress(ConfigError, OSError), socket.socket(socket.AF_UNIX) as control:
        control.settimeout(_CONNECT_TIMEOUT_S)
        control.connect(os.fspath(_run_folder(config, wanted_account(config)).socket))
        return True
    return False


def _run_folder(config: Config, account: Account | None) -> RunFolder:
    if config.run_dir is not None:
        return RunFolder(Path(config.run_dir))
    return RunFolder(default_run_folder(Path(config.places.main_file), account.uid if account else None))


def _refused(config: Config) -> Iterator[Problem]:
    for check in (read_credentials, wanted_account, check_telemetry):
        try:
            check(config)
        except ConfigError as error:
            yield from error.problems


def _unknown_users(config: Config, layout: Layout) -> Iterator[Problem]:
    for name, pool in layout.pools.items():
        if pool.user is not None:
            try:
                find_user(pool.user)
            except KeyError:
                message = f"there is no user {pool.user}: create it, or correct the name"
                yield config.places.problem(f"pools.{name}.user", message)


def _programs(config: Config, layout: Layout) -> Iterator[Problem]:
    for name, pool in layout.pools.items():
        if pool.command is None or name not in config.pools:
            continue
        if message := _program_message(pool, pool.command[0]) or _script_message(pool, *pool.command[:2]):
            yield config.places.problem(f"pools.{name}.command", message)


def _program_message(pool: ResolvedPool, program: str) -> str:
    folder = pool.cwd or os.getcwd()
    path = os.path.join(folder, program) if "/" in program else ""
    if not path:
        found = shutil.which(program, path=pool.env.get("PATH", os.environ.get("PATH")))
        if found is None:
            return f"the program {program} is not on the PATH: install it, or write its whole path"
        path = os.path.join(folder, found)
    if not os.path.exists(path):
        return f"there is no program {path}: install it, or correct the path"
    if os.path.isdir(path) or not os.access(path, os.X_OK):
        return f"{path} is no program: make it executable (chmod +x), or put its interpreter before it"
    interpreter = _interpreter(path)
    if interpreter and not os.path.exists(interpreter):
        return f"{path} is run by {interpreter}, which does not exist: install it, or correct the first line"
    return ""


def _script_message(pool: ResolvedPool, program: str, script: str = "") -> str:
    """Why an interpreter could not run its script, or nothing."""
    if not _INTERPRETERS.fullmatch(os.path.basename(program)) or not script.endswith(_SCRIPT_ENDINGS):
        return ""
    path = os.path.join(pool.cwd or "", script)
    if os.path.exists(path) or not os.path.isabs(path):  # the manager may start in another folder than this check
        return ""
    return f"{program} is to run {path}, which does not exist: correct the path"


def _interpreter(script: str) -> str:
    """The program that runs a script, by its first line; nothing for other programs."""
    try:
        with open(script, "rb") as file:
            line = file.readline(256)
    except OSError:
        return ""
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def _paths(config: Config) -> Iterator[Problem]:
    """Folders in which the manager could not make its files."""
    with suppress(ConfigError):  # an unknown user is a problem already
        account = wanted_account(config)
        if account is not None and os.getuid() not in (0, account.uid):
            return  # only root can start it, and root may write anywhere
        folder = _run_folder(config, account)
        if message := _unwritable(folder.path):
            yield config.places.problem("run_dir", message)
        try:
            folder.check_length()
        except StartError as error:
            yield config.places.problem("run_dir", str(error))
    if config.log.file not in (None, SYSLOG) and (message := _unwritable_file(Path(str(config.log.file)))):
        yield config.places.problem("log.file", message)
    store = config.server.store if config.server is not None else ""
    if store.startswith(_SQLITE):
        file = Path(store.removeprefix(_SQLITE).partition("?")[0])
        # SQLite makes two more files beside it.
        if message := _unwritable_file(file) or _unwritable(file.parent) or _no_database(file):
            yield config.places.problem("server.store", message)


def _unwritable_file(file: Path) -> str:
    if not file.exists():
        return _unwritable(file.parent)
    if not file.is_file() and not file.is_char_device():
        return f"{file} is no file: name another"
    return "" if os.access(file, os.W_OK) else f"{file} can't be written: allow this user to, or name another"


def _no_database(file: Path) -> str:
    with suppress(OSError), file.open("rb") as content:
        if content.read(len(_SQLITE_HEADER)) not in (b"", _SQLITE_HEADER):
            return f"{file} is no SQLite database: name another file"
    return ""


def _unwritable(folder: Path) -> str:
    """Why no file can be made in a folder, which may be made first; or nothing."""
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        return f"{existing} is no folder: name another"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"nothing can be written into {existing}: allow this user to, or name another folder"
    return ""


def _driver(config: Config) -> Iterator[Problem]:
    scheme = config.server.store.partition("://")[0] if config.server is not None else ""
    module, extra = _DRIVERS.get(scheme, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        message = f"{scheme} needs a driver that is not installed: pip install 'gearman-manager[{extra}]'"
        yield config.places.problem("server.store", message)


def _unreachable_store(config: Config) -> Iterator[Problem]:
    """A database that does not answer now. It may be starting too, so this is no mistake of the configuration."""
    scheme = config.server.store.partition("://")[0] if config.server is not None else ""
    if config.server is None or scheme not in _DRIVERS:
        return
    try:
        url = urlsplit(config.server.store)
        host, port = url.hostname, url.port or _DATABASE_PORTS[scheme]
    except ValueError:
        return  # the driver has its own way to read it
    if not host:
        return
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"no database answers at {host}:{port} now ({reason}): the job server would not start without it"
        yield config.places.problem("server.store", message, is_fatal=False)


def pid_file_problem(file: Path) -> str:
    """Why the file of `-P` can't be written, or nothing."""
    return _unwritable_file(file.absolute())


def _addresses(config: Config) -> Iterator[Problem]:
    """Addresses on which this machine can't listen, or (not fatal) where a program listens already."""
    server, control = config.server, config.control
    for instance in server.listening if server is not None else ():
        for index, address in enumerate(instance.jobs):
            yield from _address(config, "server.listen", address, f"server.listen[{index}]")
        if instance.metrics is not None:
            yield from _address(config, "server.metrics_listen", instance.metrics)
    if control.listen is not None:
        yield from _address(config, "control.listen", control.listen)


def _address(config: Config, key: str, address: Address, entry: str = "") -> Iterator[Problem]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
    except socket.gaierror:
        message = f"the host {address.host} is not known here: correct the name, or write an IP address of this machine"
        yield config.places.problem(key, message, at=entry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"a program listens on {address} already: stop it or change the port"
            yield config.places.problem(key, message, at=entry, is_fatal=False)
        elif error.errno == errno.EACCES:
            message = f"only root may listen on {address}: choose a port from 1024 up, or start it as root"
            yield config.places.problem(key, message, at=entry, is_fatal=config.user is None)
        else:
            message = f"nothing can listen on {address}: {os.strerror(error.errno or 0).lower()}"
            yield config.places.problem(key, f"{message}; write an IP address of this machine", at=entry)
