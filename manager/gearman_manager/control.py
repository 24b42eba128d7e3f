"""The control API: HTTP on a Unix socket in the run folder. The command line is one of its clients."""

import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gevent.socket
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from gevent.pywsgi import WSGIServer

from gearman_manager.control_jobs import job_routes
from gearman_manager.control_port import ControlPort
from gearman_manager.errors import ManagerError, StartError
from gearman_manager.recent_log import RecentLog
from gearman_manager.server_jobs import ServerJobs
from gearman_manager.status import Report

_log = logging.getLogger("control")
_MAX_BODY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Commands:
    """What the API can ask of the supervisor. Each only notes the wish and returns at once, but `jobs`, who asks the
    job servers."""

    status: Callable[[], Report]
    stop: Callable[[], None]
    reload: Callable[[], None]
    scale: Callable[[str, int, int], None]
    restart: Callable[[str | None], None]
    pause: Callable[[str, bool], None]
    log: RecentLog
    jobs: ServerJobs


def make_app(commands: Commands) -> Flask:
    """The API's routes."""
    app = Flask("gearman_manager.control", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES

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

    @app.post("/pools/<name>/scale")
    def scale(name: str) -> ResponseReturnValue:
        size = request.get_json()
        commands.scale(name, int(size["min"]), int(size["max"]))
        return jsonify(size), 202

    @app.post("/restart")
    def restart() -> ResponseReturnValue:
        commands.restart(request.args.get("pool"))
        return jsonify({"restarting": request.args.get("pool")}), 202

    @app.post("/pools/<name>/pause")
    def pause(name: str) -> ResponseReturnValue:
        commands.pause(name, True)
        return jsonify({"paused": True}), 202

    @app.post("/pools/<name>/resume")
    def resume(name: str) -> ResponseReturnValue:
        commands.pause(name, False)
        return jsonify({"paused": False}), 202

    @app.get("/logs")
    def logs() -> ResponseReturnValue:
        subject = request.args.get("of")
        if "follow" not in request.args:
            return jsonify(commands.log.lines(subject))
        lines = (line + "\n" for line in commands.log.follow(subject))
        return Response(lines, mimetype="text/plain; charset=utf-8")

    app.register_blueprint(job_routes(commands.jobs))

    @app.errorhandler(ManagerError)
    def refused(error: ManagerError) -> ResponseReturnValue:
        return jsonify({"error": str(error)}), 400

    return app


class ControlServer:
    """Serves the API on its socket, and where the configuration says so on a TCP address, until it is closed."""

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
        app = make_app(commands)
        self.port = ControlPort(app)
        self._server = WSGIServer(listener, app, log=None, error_log=errors)
        self._server.start()

    def close(self) -> None:
        """Stop serving; requests under way get a second."""
        self.port.close()
        self._server.stop(timeout=1)
