"""The control API: HTTP on a Unix socket in the run folder. The command line is one of its clients."""

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent.socket
from flask import Flask, jsonify
from flask.typing import ResponseReturnValue
from gevent.pywsgi import WSGIServer

from gearman_manager.errors import StartError
from gearman_manager.status import Report

_log = logging.getLogger("control")


@dataclass(frozen=True, slots=True)
class Commands:
    """What the API can ask of the supervisor. Each only notes the wish and returns at once."""

    status: Callable[[], Report]
    stop: Callable[[], None]
    reload: Callable[[], None]


def make_app(commands: Commands) -> Flask:
    """The API's routes."""
    app = Flask("gearman_manager.control", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/status")
    def status() -> ResponseReturnValue:
        return jsonify(commands.status())

    @app.post("/stop")
    def stop() -> ResponseReturnValue:
        commands.stop()
        return jsonify({"stopping": True}), 202

    @app.post("/reload")
    def reload() -> ResponseReturnValue:
        commands.reload()
        return jsonify({"reloading": True}), 202

    return app


class ControlServer:
    """Serves the API until it is closed."""

    def __init__(self, path: Path, commands: Commands) -> None:
        with suppress(FileNotFoundError):
            path.unlink()  # a predecessor that was killed; the run folder's lock says that it is gone
        listener = gevent.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise StartError(
                f"the control socket {path} can't be made: {error.strerror}; choose another run_dir"
            ) from error
        finally:
            os.umask(mask)
        listener.listen(16)
        errors: Any = _log
        self._server = WSGIServer(listener, make_app(commands), log=None, error_log=errors)
        self._server.start()

    def close(self) -> None:
        """Stop serving; requests under way get a second."""
        self._server.stop(timeout=1)
