"""The files that `init` writes: a commented configuration and a first module, enough for a manager to run at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gearman_manager.errors import ManagerError

_CONFIG: Final = """\
# The configuration of gearman-manager. `gearman-manager -c config.yaml check` says whether it is right.

server:                          # the bundled job server; leave the section out to use only external ones
  listen: 127.0.0.1:${GEARMAN_PORT:-4730}
  store: sqlite:///jobs.db       # background jobs are kept in this file, so they survive any end of the server

workers_dir: [workers]           # every module in here is loaded; the file's name is the function's

defaults: {min: 1, max: 4, timeout: 5m}

# A function that no pool names gets a pool of its own. To set its size, name it:
#
# pools:
#   greeting:
#     functions: [hello]
#     min: 2
#     max: 10
#     scale: {target_wait: 2s}   # so many workers that no job waits longer than this
#
# functions:
#   hello: {timeout: 10s, retries: 3, settings: {greeting: Hello}}
#
# The dashboard, in a browser; `gearman-manager dashboard` tells where:
#
# control:
#   listen: 127.0.0.1:4731
#   token_file: control.token    # openssl rand -hex 16 > control.token
"""

_MODULE: Final = '''\
"""Your first function: the file is called hello.py, so the function is called hello."""


def hello(job):
    name = job.workload.decode() or "world"
    return f"{job.settings.get('greeting', 'Hello')}, {name}!"
'''


def write_starter(folder: Path) -> list[Path]:
    """Write the files into the folder, which is created if missing.

    Raises:
        ManagerError: a file exists already, or the folder can't be written to. Nothing was overwritten.
    """
    files = {folder / "config.yaml": _CONFIG, folder / "workers" / "hello.py": _MODULE}
    for file in files:
        if file.exists():
            raise ManagerError(f"{file} exists already and is left as it is; choose another folder")
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x") as new:  # "x": a link that leads nowhere is not followed
                new.write(text)
    except OSError as error:
        raise ManagerError(f"{error.filename} can't be written: {error.strerror}") from error
    return list(files)
