"""What the section `otel` needs, checked before a configuration is used."""

from __future__ import annotations

from importlib import metadata
from typing import Final

from gearman_manager.config import Config, ConfigError
from gearman_manager.telemetry.headers import read_headers

#: A distribution of the extra; to look for it imports nothing.
_EXPORTER: Final = "opentelemetry-exporter-otlp-proto-http"


def check_telemetry(config: Config) -> None:
    """Look whether the section can be used.

    Raises:
        ConfigError: the extra is not installed, or the file of headers can't be used.
    """
    if config.otel is None:
        return
    try:
        metadata.distribution(_EXPORTER)
    except metadata.PackageNotFoundError as error:
        message = "OpenTelemetry is not installed: pip install 'gearman-manager[otel]'"
        raise ConfigError([config.places.problem("otel", message)]) from error
    if config.otel.headers_file is not None:
        try:
            read_headers(config.otel.headers_file)
        except (OSError, ValueError) as error:
            reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
            raise ConfigError([config.places.problem("otel.headers_file", f"no headers: {reason}")]) from error
