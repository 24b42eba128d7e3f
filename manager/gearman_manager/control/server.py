"""The control API: HTTP on a Unix socket in the run folder. The command line is one of its clients."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gevent.socket
from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from gevent.pywsgi import WSGIServer
from werkzeug.exceptions import HTTPException

from gearman_manager.control.control_body import json_body
from gearman_manager.control.job_routes import job_routes
from gearman_manager.control.server_jobs import ServerJobs
from gearman_manager.control.status import Report
from gearman_manager.control.tcp_port import ControlPort
from gearman_manager.errors import ManagerError, StartError
from gearman_manager.logs.recent_log import RecentLog

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
    app = Flask("gearman_manager.control.server", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # an empty name is no redirection

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

    @app.post("/pools/<path:name>/scale")
    def scale(name: str) -> ResponseReturnValue:
        low, high = _size(json_body("min", "max"))
        commands.scale(name, low, high)
        return jsonify({"min": low, "max": high}), 202

    @app.post("/restart")
    def restart() -> ResponseReturnValue:
        commands.restart(request.args.get("pool"))
        return jsonify({"restarting": request.args.get("pool")}), 202

    @app.post("/pools/<path:name>/pause")
    def pause(name: str) -> ResponseReturnValue:
        commands.pause(name, True)
        return jsonify({"paused": True}), 202

    @app.post("/pools/<path:name>/resume")
    def resume(name: str) -> ResponseReturnValue:
        commands.pause(name, False)
        return jsonify({"paused": False}), 202

    @app.get("/logs")
    def logs() -> ResponseReturnValue:
        subject = request.args.get("of")
        said = commands.log.lines(subject)
        pools = commands.status()["pools"]
        if subject is not None and not said and subject.partition("/")[0] not in pools:
            raise ManagerError(f"{subject} has logged nothing; the pools are: {', '.join(pools)}")
        if "follow" not in request.args:
            return jsonify(said)
        lines = (line + "\n" for line in commands.log.follow(subject))
        return Response(lines, mimetype="text/plain; charset=utf-8")

    app.register_blueprint(job_routes(commands.jobs))
    _tell_why(app)
    return app


def _tell_why(app: Flask) -> None:
    """Every refusal is JSON with an `error`."""

    @app.errorhandler(ManagerError)
    def refused(error: ManagerError) -> ResponseReturnValue:
        return jsonify({"error": str(error)}), 400

    @app.errorhandler(HTTPException)
    def impossible(error: HTTPException) -> ResponseReturnValue:
        why = "; the manager's log has the reason" if error.code == 500 else ""
        return jsonify({"error": f"{request.method} {request.path}: {error.code} {error.name}{why}"}), error.code or 500


def _size(body: Mapping[str, Any]) -> tuple[int, int]:
    low, high = body.get("min"), body.get("max")
    if not isinstance(low, int) or not isinstance(high, int):
        raise ManagerError(f"min and max, two whole numbers, are expected, not {low!r} and {high!r}")
    return low, high


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
